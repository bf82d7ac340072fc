"""The visual tokens of a file, and the video language model that reads them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_inr.chat.projector import SharedProjector, load_shared, read_tokens
from lightning_inr.codec import StoredVideo
from lightning_inr.errors import UserError
from lightning_inr.ranges import is_address
from lightning_inr.retrieval.gallery import SEMANTIC_ROLES, read_model
from lightning_inr.teachers.catalogue import CHECKPOINTS, load_video_llm
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import TokenSpace, VideoShape

TOKEN_ROLES = (*SEMANTIC_ROLES, "projector")  # the roles that tokens are computed from; not enough to render a frame
# Hub ids that may be fetched because a file names them, those of conf/video_llm.
KNOWN_MODELS = {
    "llava-hf/LLaVA-NeXT-Video-7B-hf", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "Qwen/Qwen2.5-VL-7B-Instruct",
    "LanguageBind/Video-LLaVA-7B-hf", "lkhl/VideoLLaMA3-2B-Image-HF",
}  # fmt: skip
UNTRAINED = "random weights: the answers have no meaning"


class FileTokens(NamedTuple):
    """A file and its visual tokens."""

    path: str | Path  # or a URL
    video: VideoShape
    token_space: TokenSpace
    tokens: Tensor  # (K, d)

    @property
    def frame_numbers(self) -> list[int]:
        """The numbers of the frames that its tokens represent."""
        return self.video.spread(self.token_space.sampling.frames)


class ChatBackend(NamedTuple):
    """A video language model, and the projector into its token space; None: each file's own."""

    llm: VideoLLM
    shared: SharedProjector | None

    def read(self, path: str | Path) -> FileTokens:
        """The tokens of the file; UserError, naming it, if it is damaged, or not aligned to this model."""
        return self.tokens_of_model(path, read_model(path, TOKEN_ROLES))

    def tokens_of_model(self, path: str | Path, model: StoredVideo) -> FileTokens:
        """The same for a model that was already decoded from the file."""
        try:
            space, tokens = read_tokens(model, self.llm, self.shared)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        return FileTokens(path, model.video, space, tokens)


@dataclass(frozen=True)
class BackendOptions:
    """Options that select the video language model and the projector."""

    projector: str | None = None  # a shared projector's file; None: each file's own
    load_llm: Callable[[bool], VideoLLM] | None = None  # takes load_vision; None: the model that the files name
    dtype: str = "auto"  # of a model that the files name
    device: str = "auto"


def find_backend(options: BackendOptions, paths: Sequence[str | Path], load_vision: bool) -> ChatBackend:
    """The model of the options, or else the one that the projector, or the first of these files, names."""
    shared = None if options.projector is None else load_shared(options.projector)
    if options.load_llm is not None:
        return ChatBackend(options.load_llm(load_vision), shared)
    token_space = shared.token_space if shared else _first_space(paths)
    model = find_model(token_space.model, options.projector or paths[0])
    try:  # one plain value is taken, and never a function that the file names
        llm = load_video_llm(model, load_vision=load_vision, dtype=options.dtype, device=options.device)
    except UserError as error:
        raise UserError(f"{error}; or name its folder, as video_llm=llava_onevision video_llm.model=FOLDER") from error
    return ChatBackend(llm, shared)


def find_model(name: str, file: str | Path) -> str:
    """The model that `file` names: a known hub id, or a folder, also if both were moved together.

    A relative folder is searched for in the working folder, then next to a local file and in each folder above it.
    """
    if name in KNOWN_MODELS or name.endswith(
        CHECKPOINTS
    ):  # a checkpoint is never loaded: `load_video_llm` gives the remedy
        return name
    above = () if is_address(file) else Path(file).resolve().parents
    for folder in (Path(), *above):
        if (folder / name).is_dir():
            return str(folder / name)
    raise UserError(
        f"{file} names the model {name}, which is neither a folder here or next to it nor one of the supported models; "
        f"if you trust it, add video_llm=llava_onevision video_llm.model={name}, or the folder where it is now"
    )


def _first_space(paths: Sequence[str | Path]) -> TokenSpace:
    for path in paths:
        try:
            space = read_model(path, TOKEN_ROLES).token_space
        except UserError:
            if len(paths) == 1:
                raise
            continue  # reported when its tokens are read
        if space is not None:
            return space
    source = paths[0] if len(paths) == 1 else f"none of the files in {os.path.dirname(paths[0])}"
    raise UserError(f"{source}: no projector to a video language model; add one with task=align video_llm=…")


def check_sampling(max_new_tokens: object, temperature: object) -> dict[str, Any]:
    """The arguments of `VideoLLM.generate` for this temperature; UserError if one of the two values is not valid."""
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise UserError(f"max_new_tokens={max_new_tokens}: choose a whole number of tokens from 1")
    if not isinstance(temperature, int | float) or not 0 <= temperature <= 100:
        raise UserError(f"temperature={temperature}: choose a number from 0, which is greedy, to 100")
    return {"do_sample": True, "temperature": float(temperature)} if temperature > 0 else {}
