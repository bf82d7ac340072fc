"""Films: files to be asked about, the videos that they were made from, and the questions."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_inr.codec import describe
from lightning_inr.data.questions import Question
from lightning_inr.data.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.paths import existing
from lightning_inr.retrieval.collection import open_original, read_manifest
from lightning_inr.tasks import fit
from lightning_inr.tasks.collect import collect
from lightning_inr.tasks.provenance import provenance
from lightning_inr.tasks.talking import ChatBackend


class EvaluationItem(NamedTuple):
    """A file, and the video that it was made from."""

    id: str
    path: Path
    open: Callable[[], VideoSource]
    questions: Sequence[Question]


def prepare_items(cfg: DictConfig) -> tuple[list[EvaluationItem], dict[str, Any]]:
    """The files to be measured, those fitted first that are not there yet, and what result.json says of them."""
    opened: list[tuple[str, Path, Callable[[], VideoSource]]]
    folder = _collection(cfg)
    if folder is not None:
        records = read_manifest(folder)[: cfg.answers.videos]
        opened = [(each.id, folder / each.path, partial(open_original, each)) for each in records]
        about = {
            "model": cfg.preset,
            "video": folder.name,
            **provenance(cfg, "file"),
            "videos": len(records),
            "bytes": sum(each.bytes for each in records),
            "bpp": fmean(each.bpp for each in records),
            "psnr": fmean(each.psnr for each in records),
        }
    else:
        about = fit.run(cfg) if cfg.bitstream is None else {}
        path = existing(cfg.bitstream or Path(cfg.run_dir) / "video.linr", "bitstream")
        source: VideoSource = instantiate(cfg.dataset)
        opened = [(source.name, path, lambda: source)]
        if cfg.bitstream is not None:
            described = describe(path.read_bytes())
            figures = {name: described[name] for name in ("model", "bytes", "bpp")}
            about = {"video": source.name, **provenance(cfg, source.matrix), **figures}
    asked: list[Question] | None = None if cfg.questions is None else instantiate(cfg.questions)
    items = [EvaluationItem(*each, _questions(asked, each[0], each[1], cfg.answers.ask)) for each in opened]
    if not any(item.questions for item in items):
        raise UserError(
            f"questions: none is about {items[0].id}, or another of these videos; ask about them by their id"
        )
    return [item for item in items if item.questions], about


def _collection(cfg: DictConfig) -> Path | None:
    """The folder of files to be measured, filled first if it is this configuration's; None: one file is measured."""
    if cfg.collection is None and cfg.bitstream is None and "listing" in cfg.dataset:
        collect(cfg, Path(cfg.run_dir))
        return Path(cfg.run_dir)
    return None if cfg.collection is None else Path(cfg.collection)


def _questions(asked: Sequence[Question] | None, name: str, path: Path, otherwise: Sequence[str]) -> list[Question]:
    if asked is None:
        return [Question(name, str(text)) for text in otherwise]
    return [question for question in asked if question.video in (name, path.stem)]


def items_with_tokens(items: Sequence[EvaluationItem], backend: ChatBackend) -> list[EvaluationItem]:
    """Without those that say nothing to this model, which are named; UserError if none is left."""
    found = []
    for item in items:
        try:
            backend.read(item.path)
        except UserError as error:
            if len(items) == 1:
                raise
            print(f"left out: {item.id}: {error}")
            continue
        found.append(item)
    if not found:
        raise UserError(f"not one of {len(items)} files talks to {backend.llm.name}; align them with task=align")
    return found
