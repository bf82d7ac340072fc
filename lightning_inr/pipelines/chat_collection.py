"""Answers questions about every file of a collection, in a JSONL file that a second run resumes."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from lightning_inr.chat.session import Session, check_question
from lightning_inr.data.captioned.questions import Question
from lightning_inr.errors import UserError
from lightning_inr.paths import write_text
from lightning_inr.pipelines.chat_backend import BackendOptions, check_sampling, find_backend
from lightning_inr.progress import ProgressBar
from lightning_inr.retrieval.collection import file_address, read_manifest

CAPTION = "Describe the video."


class CollectionChatOptions(NamedTuple):
    """Options of answering questions about every file of a collection."""

    backend: BackendOptions
    max_new_tokens: int
    temperature: float
    seed: int


def answer_collection(
    folder: str | Path, out: Path, questions_by_video: Mapping[str, Sequence[Question]], options: CollectionChatOptions
) -> None:
    """Answer the questions about each file (id -> questions); files without tokens are named and left out."""
    sampling = check_sampling(options.max_new_tokens, options.temperature)
    files = {record.id: file_address(folder, record.path) for record in read_manifest(folder)}
    backend = find_backend(options.backend, list(files.values()), load_vision=False)
    settings = {
        "model": backend.llm.name,
        "fingerprint": backend.llm.fingerprint,
        "projector": options.backend.projector,
        "max_new_tokens": options.max_new_tokens,
        "temperature": options.temperature,
    }
    check_same_settings(out, settings)
    answered = read_answered(out, questions_by_video)
    remaining = {
        name: [each for each in questions if (name, each.text) not in answered]
        for name, questions in questions_by_video.items()
    }
    write_text(_settings_file(out), json.dumps(settings, indent=2) + "\n")
    torch.manual_seed(options.seed)
    left_out = []
    with out.open("ab") as file:
        for name, questions in ProgressBar(remaining.items(), "answers", unit="video", disable=None):
            if not questions:
                continue
            try:
                tokens = backend.read(files[name])
            except UserError as error:
                ProgressBar.write(f"left out: {name}: {error}")
                left_out.append(name)
                continue
            session = Session(backend.llm, tokens.token_space, tokens.tokens, options.max_new_tokens, **sampling)
            answer_questions(session, questions, file)
    print(f"{len(questions_by_video) - len(left_out)} of {len(questions_by_video)} videos have answers in {out}")


def choose_questions(
    folder: str | Path, question: str | None, questions: Sequence[Question] | None
) -> dict[str, list[Question]]:
    """id -> questions about that video of the collection: `question` for each video, or those of `questions`."""
    records = read_manifest(folder)
    if questions is None:
        text = CAPTION if question is None else question
        check_question(text)
        return {record.id: [Question(record.id, text)] for record in records}
    if question is not None:
        raise UserError("question and questions: give one of them")
    questions_by_video: dict[str, list[Question]] = {record.id: [] for record in records}
    other_videos = []
    for each in questions:
        if each.video in questions_by_video:
            questions_by_video[each.video].append(each)
        else:
            other_videos.append(each.video)
    found = {name: each_questions for name, each_questions in questions_by_video.items() if each_questions}
    if not found:
        raise UserError(f"questions: none is about a video of collection={folder}, but about {other_videos[0]} …")
    if other_videos:
        print(
            f"{len(other_videos)} questions are about videos that are not in the collection, such as {other_videos[0]}"
        )
    return found


def answer_questions(session: Session, questions: Sequence[Question], file: IO[bytes]) -> None:
    """Write a line per question as soon as its answer is complete; each is asked without the others as history."""
    for question in questions:
        session.forget()
        row = {"id": question.video, "question": question.text, "answer": "".join(session.ask(question.text)).strip()}
        row |= {} if question.answer is None else {"truth": question.answer}
        row |= {} if question.kind is None else {"kind": question.kind}
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        file.flush()


def check_same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """UserError if `out` was started with other settings."""
    settings_file = _settings_file(out)
    if not out.exists():
        return
    try:
        stored = json.loads(settings_file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"out={out} exists, but {settings_file.name} next to it does not; choose another out"
        ) from error
    for name, value in settings.items():
        if stored.get(name) != value:
            raise UserError(f"out={out}: {name} is {stored.get(name)} there, {value} now; choose another out")


def read_answered(out: Path, questions_by_video: Mapping[str, Sequence[Question]]) -> set[tuple[str, str]]:
    """(id, question) of the complete lines of `out`; an incomplete last line is removed."""
    if not out.exists():
        return set()
    text = out.read_bytes()
    complete = text.rfind(b"\n") + 1
    try:
        rows = [json.loads(line) for line in text[:complete].splitlines()]
        answered = {(row["id"], row["question"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"out={out} holds no answers of task=chat; choose another out") from error
    requested = {(each.video, each.text) for questions in questions_by_video.values() for each in questions}
    if others := answered - requested:
        raise UserError(f"out={out} holds answers to other questions, as {min(others)[1]!r}; choose another out")
    os.truncate(out, complete)
    return answered


def _settings_file(out: Path) -> Path:
    return out.with_suffix(".settings.json")
