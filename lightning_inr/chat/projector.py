"""Visual tokens of a file for a video language model, by its own projector or by one shared by many files."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_inr.codec import StoredVideo
from lightning_inr.errors import UserError
from lightning_inr.nn.projector import Projector, projector_for, token_layout
from lightning_inr.paths import write_bytes
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import EmbeddingSpace, FrameSampling, TokenSpace

FILE_KIND = "lightning_inr projector 1"
READ_ERRORS = (
    SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class SharedProjector(NamedTuple):
    """A projector for all files aligned to one teacher: it maps normalised frame embeddings to visual tokens."""

    network: Projector
    embedding_space: EmbeddingSpace  # of its input
    token_space: TokenSpace  # of its output, for one of the videos it was trained on


def save_shared(shared: SharedProjector, path: str | os.PathLike[str]) -> None:
    """Write a shared projector as safetensors of float16, which is precise enough, with its spaces as metadata."""
    tensors = {name: tensor.half().contiguous().cpu() for name, tensor in shared.network.state_dict().items()}
    metadata = {
        "kind": FILE_KIND,
        "reads": json.dumps(shared.embedding_space),
        "writes": json.dumps(shared.token_space),
    }
    write_bytes(path, save(tensors, metadata))


def load_shared(path: str | os.PathLike[str]) -> SharedProjector:
    """Read a shared projector onto the CPU; UserError if the file is missing, damaged or not a projector."""
    found = Path(path).expanduser()
    if not found.exists():
        raise UserError(f"projector={path}: no such file; make one with task=align (relative to {Path.cwd()})")
    try:
        with safe_open(found, "pt") as file:
            shared = _read(file)
    # The constructors raise errors of many types for the metadata of a damaged or foreign file.
    except READ_ERRORS as error:
        line = str(error).strip().partition("\n")[0][:200] or repr(error)
        raise UserError(f"projector={path}: damaged, or no projector ({line}); make one with task=align") from error
    return shared._replace(network=shared.network.eval())


@torch.no_grad()
def read_tokens(model: StoredVideo, llm: VideoLLM, shared: SharedProjector | None = None) -> tuple[TokenSpace, Tensor]:
    """The visual tokens of a decoded file for `llm`, (K, d) float32, and their space; no frame is rendered.

    With the file's own projector, the frame sampling is that of the file's token space; with a `shared` one, it is the
    one of `llm` for this video. UserError if the projector is for another model, or the shared one for another teacher
    than the file's.
    """
    if shared is not None:
        space = shared_space(model, llm, shared)
        return space, shared.network(shared_latents(model, space.sampling))
    if model.token_space is None:
        raise UserError(
            "bitstream: it is aligned to no video language model; add projector=FILE, or add one to the file with "
            f"task=align bitstream=… video_llm.model={llm.name} out=…"
        )
    check_same_model(model.token_space, llm, "bitstream")
    return model.token_space, model.visual_tokens()


def shared_space(model: StoredVideo, llm: VideoLLM, shared: SharedProjector) -> TokenSpace:
    """The token space of `llm` for this video; UserError if `shared` cannot map this file to it."""
    check_same_model(shared.token_space, llm)
    aligned, expected = model.embedding_space, shared.embedding_space
    if aligned is None or aligned.fingerprint != expected.fingerprint:
        actual = f"to {aligned.teacher} ({aligned.fingerprint})" if aligned else "to no teacher"
        raise UserError(
            f"projector: it is for latents aligned to {expected.teacher} ({expected.fingerprint}), and the "
            f"file is aligned {actual}; add a projector to the file with task=align, without projector=…"
        )
    space = llm.token_space(model.video)
    check_compatible(shared, space)
    return space


def check_compatible(shared: SharedProjector, space: TokenSpace) -> None:
    """UserError if `shared` cannot give the visual tokens of `space`."""
    if not is_compatible(space, shared.token_space):
        raise UserError(
            f"projector: it was trained on {describe_sampling(shared.token_space)}, and this video gives "
            f"{describe_sampling(space)}; train one on such videos, or add one to the file with task=align"
        )


def is_compatible(one: TokenSpace, other: TokenSpace) -> bool:
    """Whether one projector fits both spaces: only the number of groups of frames may differ."""
    frames = [(each.sampling.height, each.sampling.width) for each in (one, other)]
    return token_layout(one) == token_layout(other) and frames[0] == frames[1]


def describe_sampling(space: TokenSpace) -> str:
    """The frame sampling and the number of tokens of `space`, for messages."""
    sampling = space.sampling
    return f"{sampling.frames} frames of {sampling.width}x{sampling.height} in {space.tokens} tokens"


def shared_latents(model: StoredVideo, sampling: FrameSampling) -> Tensor:
    """The input of a shared projector, (N, S): frame embeddings of length 1 at the sampled frames."""
    return F.normalize(model.frame_embeddings(model.sample_positions(sampling.frames)), dim=-1)


def check_same_model(space: TokenSpace, llm: VideoLLM, option: str = "projector") -> None:
    """UserError naming `option` if `space` is of another model than `llm`."""
    if space.fingerprint != llm.fingerprint:
        raise UserError(
            f"{option}: it was aligned to {space.model} ({space.fingerprint}), and video_llm is {llm.name} "
            f"({llm.fingerprint}); choose that model, or align to this one with task=align"
        )


def _read(file: Any) -> SharedProjector:
    """Read a projector from an open safetensors file; raises errors of many types for invalid contents."""
    metadata = file.metadata() or {}
    if metadata.get("kind") != FILE_KIND:
        raise ValueError(f"its metadata lack the kind {FILE_KIND!r}")
    space = EmbeddingSpace(*json.loads(metadata["reads"]))
    token_space = TokenSpace(*json.loads(metadata["writes"]))
    token_space = token_space._replace(sampling=FrameSampling(*token_space.sampling))
    if not all(isinstance(each, str) for each in (*space[:2], *token_space[:2])):
        raise ValueError("its metadata lack the names of its models")
    with torch.device("meta"):  # takes no memory: the shapes by the metadata are compared with those in the file first
        network = projector_for(space.width, token_space)
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  (not a dict)
    if shapes != expected:
        raise ValueError("its tensors do not match its metadata")
    tensors = {name: file.get_tensor(name).float() for name in expected}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ValueError("a tensor has numbers that are not finite")
    network.load_state_dict(tensors, assign=True)
    return SharedProjector(network, space, token_space)
