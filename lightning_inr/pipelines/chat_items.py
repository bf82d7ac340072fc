"""Items of a chat evaluation: files, the videos that they were fitted to, and questions."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path, PurePath
from statistics import fmean
from typing import Any, NamedTuple

from lightning_inr.codec import describe_file
from lightning_inr.data.captioned.questions import Question
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.pipelines.chat_backend import ChatBackend
from lightning_inr.retrieval.collection import file_address, original, read_manifest


class EvaluationItem(NamedTuple):
    """A file, the video that it was fitted to, and the questions about it."""

    id: str
    path: str | Path  # or a URL
    open: Callable[[], AbstractContextManager[VideoSource]]
    questions: Sequence[Question] = ()


def items_of_collection(folder: str | Path, most: int | None) -> tuple[list[EvaluationItem], dict[str, Any]]:
    """At most `most` files of a collection, without questions, and their mean figures for result.json."""
    records = read_manifest(folder)[:most]
    items = [EvaluationItem(each.id, file_address(folder, each.path), partial(original, each)) for each in records]
    return items, {
        "videos": len(records),
        "bytes": sum(each.bytes for each in records),
        "bpp": fmean(each.bpp for each in records),
        "psnr": fmean(each.psnr for each in records),
    }


def item_of_file(path: Path, source: VideoSource) -> tuple[EvaluationItem, dict[str, Any]]:
    """A file, without questions, and its figures for result.json."""
    described = describe_file(path.read_bytes())
    figures = {name: described[name] for name in ("model", "bytes", "bpp")}
    return EvaluationItem(source.name, path, lambda: nullcontext(source)), figures


def with_questions(
    items: Sequence[EvaluationItem], questions: Sequence[Question] | None, default_texts: Sequence[str]
) -> list[EvaluationItem]:
    """The items with questions: those of `questions` by video id, or `default_texts` for each if there are none."""
    found = [each._replace(questions=_questions_about(questions, each.id, each.path, default_texts)) for each in items]
    if not any(item.questions for item in found):
        raise UserError(
            f"questions: none is about {items[0].id} or another of these videos; name the videos by their id"
        )
    return [item for item in found if item.questions]


def _questions_about(
    questions: Sequence[Question] | None, name: str, path: str | Path, default_texts: Sequence[str]
) -> list[Question]:
    if questions is None:
        return [Question(name, str(text)) for text in default_texts]
    return [question for question in questions if question.video in (name, PurePath(path).stem)]


def items_with_tokens(items: Sequence[EvaluationItem], backend: ChatBackend) -> list[EvaluationItem]:
    """The items with tokens for this model; the others are printed, and UserError if none is left."""
    usable = []
    for item in items:
        try:
            backend.read(item.path)
        except UserError as error:
            if len(items) == 1:
                raise
            print(f"left out: {item.id}: {error}")
            continue
        usable.append(item)
    if not usable:
        raise UserError(f"not one of {len(items)} files is aligned to {backend.llm.name}; align them with task=align")
    return usable
