"""What a file says to a video language model: through a projector of its own, or one that a collection shares."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.nn.projector import Projector, layout, projector_for
from lightning_inr.paths import write_bytes
from lightning_inr.teachers.video_llm import VideoLLM
from lightning_inr.types import EmbeddingSpace, FrameSampling, TokenSpace

KIND = "lightning_inr projector 1"
FOREIGN = (SafetensorError, ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class SharedProjector(NamedTuple):
    """One projector for every file that is aligned to one teacher: it reads `semantic`, made of length 1."""

    network: Projector
    reads: EmbeddingSpace
    writes: TokenSpace  # of one of the videos that it learned from


def save_shared(shared: SharedProjector, path: str | os.PathLike[str]) -> None:
    """Write a shared projector: safetensors of 16-bit floats, which its tokens do not show, and what it is."""
    tensors = {name: tensor.half().contiguous().cpu() for name, tensor in shared.network.state_dict().items()}
    told = {"kind": KIND, "reads": json.dumps(shared.reads), "writes": json.dumps(shared.writes)}
    write_bytes(path, save(tensors, told))


def load_shared(path: str | os.PathLike[str]) -> SharedProjector:
    """What `save_shared` has written, on the CPU; UserError if it is not there, damaged, or something else."""
    found = Path(path).expanduser()
    if not found.exists():
        raise UserError(f"projector={path}: no such file; make one with task=align (relative to {Path.cwd()})")
    try:
        with safe_open(found, "pt") as file:
            shared = _read(file)
    # A foreign file's description: whatever it makes the constructors stumble over is its fault.
    except FOREIGN as error:
        line = str(error).strip().partition("\n")[0][:200] or repr(error)
        raise UserError(f"projector={path}: damaged, or no projector ({line}); make one with task=align") from error
    return shared._replace(network=shared.network.eval())


@torch.no_grad()
def read_tokens(
    model: VideoRepresentation, llm: VideoLLM, shared: SharedProjector | None = None
) -> tuple[TokenSpace, Tensor]:
    """What a decoded file says to `llm`: the space, and (K, d) float32. No frame is painted.

    The file's own projector was shown what its space says; a `shared` one is shown what `llm` would be of this video.
    UserError if the one or the other speaks to another model, or reads another teacher than the file's.
    """
    if shared is not None:
        space = shared_space(model, llm, shared)
        return space, shared.network(shared_latents(model, space.sampling))
    if model.token_space is None:
        raise UserError(
            "bitstream: it is aligned to no video language model; add projector=FILE, or give it one of its own with "
            f"task=align bitstream=… video_llm.model={llm.name} out=…"
        )
    check_same_model(model.token_space, llm, "bitstream")
    return model.token_space, model.tokens()


def shared_space(model: VideoRepresentation, llm: VideoLLM, shared: SharedProjector) -> TokenSpace:
    """What `llm` would make of this video, if `shared` can say it from this file; else UserError."""
    check_same_model(shared.writes, llm)
    aligned = model.embedding_space
    if aligned is None or aligned.fingerprint != shared.reads.fingerprint:
        own = f"to {aligned.teacher} ({aligned.fingerprint})" if aligned else "to no teacher"
        raise UserError(
            f"projector: it reads latents aligned to {shared.reads.teacher} ({shared.reads.fingerprint}), and the file "
            f"is aligned {own}; give it a projector of its own with task=align, without projector=…"
        )
    space = llm.token_space(model.video)
    check_same_form(shared, space)
    return space


def check_same_form(shared: SharedProjector, space: TokenSpace) -> None:
    """UserError if `shared` cannot say the tokens of `space`."""
    if not same_form(space, shared.writes):
        raise UserError(
            f"projector: it was trained on {describe_sampling(shared.writes)}, and this video gives "
            f"{describe_sampling(space)}; share one among such videos, or give the file its own with task=align"
        )


def same_form(one: TokenSpace, other: TokenSpace) -> bool:
    """Whether a projector can serve both: videos may differ in length, but not in how a frame becomes tokens."""
    frames = [(each.sampling.height, each.sampling.width) for each in (one, other)]
    return layout(one) == layout(other) and frames[0] == frames[1]


def describe_sampling(space: TokenSpace) -> str:
    """A showing in words."""
    sampling = space.sampling
    return f"{sampling.frames} frames of {sampling.width}x{sampling.height} in {space.tokens} tokens"


def shared_latents(model: VideoRepresentation, sampling: FrameSampling) -> Tensor:
    """What a shared projector reads of a file, (N, S) of length 1: the meaning of the frames shown."""
    return F.normalize(model.frame_embeddings(model.sample_positions(sampling.frames)), dim=-1)


def check_same_model(space: TokenSpace, llm: VideoLLM, whose: str = "projector") -> None:
    """UserError, beginning with `whose` tokens they are, if those of `space` are not for `llm`."""
    if space.fingerprint != llm.fingerprint:
        raise UserError(
            f"{whose}: it speaks to {space.model} ({space.fingerprint}), and video_llm is {llm.name} "
            f"({llm.fingerprint}); choose that model, or align to this one with task=align"
        )


def _read(file: Any) -> SharedProjector:
    """From an open safetensors file; raises whatever its contents lead to."""
    told = file.metadata() or {}
    if told.get("kind") != KIND:
        raise ValueError("it does not say that it is one")
    reads, writes = EmbeddingSpace(*json.loads(told["reads"])), TokenSpace(*json.loads(told["writes"]))
    writes = writes._replace(sampling=FrameSampling(*writes.sampling))
    if not all(isinstance(each, str) for each in (*reads[:2], *writes[:2])):
        raise ValueError("it does not name its models")
    with torch.device("meta"):  # takes no memory: what the file claims to hold is compared with what it holds
        network = projector_for(reads.width, writes)
    wanted = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    there = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, it is no dict
    if there != wanted:
        raise ValueError("its tensors are not those it describes")
    tensors = {name: file.get_tensor(name).float() for name in wanted}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ValueError("not all of its numbers are finite")
    network.load_state_dict(tensors, assign=True)
    return SharedProjector(network, reads, writes)
