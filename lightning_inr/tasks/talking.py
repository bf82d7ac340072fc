"""What a file says to a video language model, and which model that is: what `chat` and `answers` have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from lightning_inr.chat.projector import SharedProjector, load_shared, read_tokens
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.retrieval.gallery import SEMANTIC_ROLES, read_model
from lightning_inr.teachers.catalogue import CHECKPOINTS, load_video_llm
from lightning_inr.teachers.video_llm import VideoLLM
from lightning_inr.types import TokenSpace, VideoShape

TOKEN_ROLES = (*SEMANTIC_ROLES, "projector")  # the roles that tokens are made of: no pixel can be painted from them
# Hub ids that may be fetched because a file names them, those of conf/video_llm.
KNOWN = {
    "llava-hf/LLaVA-NeXT-Video-7B-hf", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "Qwen/Qwen2.5-VL-7B-Instruct",
    "LanguageBind/Video-LLaVA-7B-hf", "lkhl/VideoLLaMA3-2B-Image-HF",
}  # fmt: skip
UNTRAINED = "random weights: this tests plumbing, not understanding"


class FileTokens(NamedTuple):
    """A file that talks."""

    path: Path
    video: VideoShape
    token_space: TokenSpace
    tokens: Tensor  # (K, d)

    @property
    def shown(self) -> list[int]:
        """The numbers of the frames that its tokens stand for."""
        return self.video.spread(self.token_space.sampling.frames)


class ChatBackend(NamedTuple):
    """A video language model, and through which projector it is spoken to; None: each file's own."""

    llm: VideoLLM
    shared: SharedProjector | None

    def read(self, path: Path) -> FileTokens:
        """What the file says; UserError, naming it, if it is damaged, or not aligned to this model."""
        return self.tokens_of_model(path, read_model(path, TOKEN_ROLES))

    def tokens_of_model(self, path: Path, model: VideoRepresentation) -> FileTokens:
        """The same of a model that was read from the file."""
        try:
            space, tokens = read_tokens(model, self.llm, self.shared)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        return FileTokens(path, model.video, space, tokens)


def find_backend(cfg: DictConfig, paths: Sequence[Path], load_vision: bool) -> ChatBackend:
    """The `video_llm` of the command line, or else the one that the projector, or the first of these files, names."""
    shared = None if cfg.projector is None else load_shared(cfg.projector)
    if cfg.video_llm is not None:
        return ChatBackend(instantiate(cfg.video_llm, load_vision=load_vision), shared)
    space = shared.writes if shared else _first_space(paths)
    is_checkpoint = space.model.endswith(CHECKPOINTS)  # never fetched: `load_video_llm` says what to do
    if not is_checkpoint and space.model not in KNOWN and not Path(space.model).exists():
        raise UserError(
            f"the file names the model {space.model}, which is neither a folder here nor one that this program knows; "
            f"if you trust it, add video_llm=llava_onevision video_llm.model={space.model}"
        )
    try:  # one plain value is taken, and not what the file would have us call
        return ChatBackend(
            load_video_llm(space.model, load_vision=load_vision, dtype=cfg.dtype, device=cfg.device), shared
        )
    except UserError as error:
        raise UserError(
            f"{error}; or say where it is now, as video_llm=llava_onevision video_llm.model=FOLDER"
        ) from error


def _first_space(paths: Sequence[Path]) -> TokenSpace:
    for path in paths:
        try:
            space = read_model(path, TOKEN_ROLES).token_space
        except UserError:
            if len(paths) == 1:
                raise
            continue  # named when its turn comes
        if space is not None:
            return space
    whose = paths[0] if len(paths) == 1 else f"none of the files in {paths[0].parent}"
    raise UserError(f"{whose}: no projector to a video language model; add one with task=align video_llm=…")


def check_answering(cfg: DictConfig) -> None:
    """UserError for a wrong `max_new_tokens` or `temperature`."""
    if not isinstance(cfg.max_new_tokens, int) or cfg.max_new_tokens < 1:
        raise UserError(f"max_new_tokens={cfg.max_new_tokens}: choose a whole number of tokens from 1")
    if not isinstance(cfg.temperature, int | float) or not 0 <= cfg.temperature <= 100:
        raise UserError(f"temperature={cfg.temperature}: choose a number from 0, which is greedy, to 100")


def sampling(cfg: DictConfig) -> dict[str, Any]:
    """What `VideoLLM.generate` takes for this `temperature`."""
    return {"do_sample": True, "temperature": float(cfg.temperature)} if cfg.temperature > 0 else {}
