"""Questions about videos, with or without their true answers, as JSONL: one object per line."""

import json
from typing import Any, NamedTuple

from lightning_inr.errors import UserError
from lightning_inr.paths import existing


class Question(NamedTuple):
    """A question about one video."""

    video: str  # its id
    text: str
    answer: str | None = None  # the true answer, if known
    kind: str | None = None  # scores are reported per kind of question


def read_questions(path: str) -> list[Question]:
    """Lines of {"id" or "video", "question", optionally "answer", "kind"}; UserError naming an invalid line."""
    file = existing(path, "questions.path")
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # JSON may hold the other line separators
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"questions.path={path}: not readable as text ({error}); give a JSONL file") from error
    found = [_read(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise UserError(f'questions.path={path}: no question there; write lines of {{"id": …, "question": …}}')
    return found


def _read(line: str, place: str) -> Question:
    try:
        row: Any = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate, \ud800, is valid JSON but not text
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not JSON ({error}); write one object per line") from error
    if not isinstance(row, dict):
        raise UserError(f'{place}: not an object; write {{"id": …, "question": …}}')
    values: dict[str, Any] = {name: row.get(name) for name in ("question", "answer", "kind")}
    values["id"] = row.get("id", row.get("video"))
    for name, value in values.items():
        absent = value is None and name in ("answer", "kind")
        if not absent and not (isinstance(value, str) and value.strip()):
            raise UserError(f"{place}: {name} is {json.dumps(value)[:40]}; give words, in quotes")
    return Question(values["id"], values["question"], values["answer"], values["kind"])
