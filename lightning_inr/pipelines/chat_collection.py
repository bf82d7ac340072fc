"""Ask every file of a collection, and write the answers to a JSONL file that a second run resumes."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from tqdm import tqdm

from lightning_inr.chat.session import Session, check_question
from lightning_inr.data.captioned.questions import Question
from lightning_inr.errors import UserError
from lightning_inr.paths import write_text
from lightning_inr.pipelines.chat_backend import BackendOptions, check_sampling, find_backend
from lightning_inr.retrieval.collection import read_manifest

CAPTION = "Describe the video."


class Asking(NamedTuple):
    """How a collection is asked."""

    backend: BackendOptions
    max_new_tokens: int
    temperature: float
    seed: int


def answer_collection(folder: Path, out: Path, asked: Mapping[str, Sequence[Question]], asking: Asking) -> None:
    """Ask every file its questions (id -> questions); files without tokens are named, and left out."""
    sampling = check_sampling(asking.max_new_tokens, asking.temperature)
    records = {record.id: record for record in read_manifest(folder)}
    backend = find_backend(asking.backend, [folder / record.path for record in records.values()], load_vision=False)
    settings = {
        "model": backend.llm.name,
        "fingerprint": backend.llm.fingerprint,
        "projector": asking.backend.projector,
        "max_new_tokens": asking.max_new_tokens,
        "temperature": asking.temperature,
    }
    check_same_settings(out, settings)
    done = read_done(out, asked)
    waiting = {name: [each for each in questions if (name, each.text) not in done] for name, questions in asked.items()}
    write_text(_settings_of(out), json.dumps(settings, indent=2) + "\n")
    torch.manual_seed(asking.seed)
    left_out = []
    with out.open("ab") as file:
        for name, questions in tqdm(waiting.items(), "ask", unit="video", disable=None):
            if not questions:
                continue
            try:
                tokens = backend.read(folder / records[name].path)
            except UserError as error:
                tqdm.write(f"left out: {name}: {error}")
                left_out.append(name)
                continue
            session = Session(backend.llm, tokens.token_space, tokens.tokens, asking.max_new_tokens, **sampling)
            ask_each(session, questions, file)
    print(f"{len(asked) - len(left_out)} of {len(asked)} videos have answered in {out}")


def choose_questions(
    folder: Path, question: str | None, questions: Sequence[Question] | None
) -> dict[str, list[Question]]:
    """id -> the questions about that video of the collection: `question` about each, or those of `questions`."""
    records = read_manifest(folder)
    if questions is None:
        text = CAPTION if question is None else question
        check_question(text)
        return {record.id: [Question(record.id, text)] for record in records}
    if question is not None:
        raise UserError("question and questions: give one of them")
    asked: dict[str, list[Question]] = {record.id: [] for record in records}
    others = []
    for each in questions:
        if each.video in asked:
            asked[each.video].append(each)
        else:
            others.append(each.video)
    found = {name: own for name, own in asked.items() if own}
    if not found:
        raise UserError(f"questions: none is about a video of collection={folder}, but about {others[0]} …")
    if others:
        print(f"{len(others)} questions are about videos that are not there, as {others[0]}")
    return found


def ask_each(session: Session, questions: Sequence[Question], file: IO[bytes]) -> None:
    """Each without the others in its history; a line once its answer is whole."""
    for question in questions:
        session.forget()
        row = {"id": question.video, "question": question.text, "answer": "".join(session.ask(question.text)).strip()}
        row |= {} if question.answer is None else {"truth": question.answer}
        row |= {} if question.kind is None else {"kind": question.kind}
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        file.flush()


def check_same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """UserError if `out` was begun with others."""
    kept = _settings_of(out)
    if not out.exists():
        return
    try:
        before = json.loads(kept.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"out={out} is there, and not {kept.name} beside it; choose another out") from error
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(f"out={out}: {name} is {before.get(name)} there, {value} now; choose another out")


def read_done(out: Path, asked: Mapping[str, Sequence[Question]]) -> set[tuple[str, str]]:
    """(id, question) of the whole lines there; a last line that is not whole is cut off."""
    if not out.exists():
        return set()
    text = out.read_bytes()
    whole = text.rfind(b"\n") + 1
    try:
        rows = [json.loads(line) for line in text[:whole].splitlines()]
        done = {(row["id"], row["question"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"out={out} holds no answers of task=chat; choose another out") from error
    others = done - {(each.video, each.text) for questions in asked.values() for each in questions}
    if others:
        raise UserError(f"out={out} holds answers to other questions, as {min(others)[1]!r}; choose another out")
    os.truncate(out, whole)
    return done


def _settings_of(out: Path) -> Path:
    return out.with_suffix(".settings.json")
