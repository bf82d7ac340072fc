"""The options of a search and of a chat."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_inr.data.captioned.questions import Question
from lightning_inr.pipelines.chat_backend import BackendOptions
from lightning_inr.pipelines.search import clip_of_collection
from lightning_inr.retrieval.stored_index import IndexOptions
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.video_llm.interface import VideoLLM


def index_options(cfg: DictConfig) -> IndexOptions:
    """The options of the `index` group."""
    options: Any = OmegaConf.to_container(cfg.index, resolve=True)
    return IndexOptions(**options)


def clip_finder(cfg: DictConfig) -> Callable[[str | Path], Clip]:
    """A function that loads the `teacher` of the configuration, else the one that a collection's config.yaml names."""

    def find(folder: str | Path) -> Clip:
        if cfg.teacher is None:
            return clip_of_collection(folder, cfg.device)
        clip: Clip = instantiate(cfg.teacher)
        return clip

    return find


def chat_backend_options(cfg: DictConfig) -> BackendOptions:
    """The options of the chat backend."""
    load_llm = None if cfg.video_llm is None else partial(_load_llm, cfg.video_llm)
    return BackendOptions(cfg.projector, load_llm, cfg.dtype, cfg.device)


def _load_llm(options: DictConfig, load_vision: bool) -> VideoLLM:
    llm: VideoLLM = instantiate(options, load_vision=load_vision)
    return llm


def questions_of(cfg: DictConfig) -> list[Question] | None:
    """The questions of the `questions` group; None without one."""
    questions: list[Question] | None = None if cfg.questions is None else instantiate(cfg.questions)
    return questions
