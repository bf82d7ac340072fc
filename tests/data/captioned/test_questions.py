"""Questions from a user's file."""

from pathlib import Path

import pytest

from lightning_inr.data.captioned.questions import Question, read_questions
from lightning_inr.errors import UserError


def test_lines_become_questions(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        '{"id": "video0", "question": "What colour?", "answer": "red", "kind": "colour"}\n'
        '\n{"video": "video1", "question": "Où\u2028?", "more": [1]}\r\n',
        encoding="utf-8",
    )
    assert read_questions(str(file)) == [
        Question("video0", "What colour?", "red", "colour"),
        Question("video1", "Où\u2028?"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
        ('{"id": "a", "question": "\\ud800?"}', "line 2: not JSON"),
        ('{"question": "What?"}', "line 2: id is null"),
        ('{"id": "a", "question": " "}', "line 2: question is"),
        ('{"id": "a", "question": "What?", "answer": 3}', "line 2: answer is 3"),
    ],
)
def test_an_invalid_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"id": "a", "question": "What?"}\n' + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        read_questions(str(file))
    assert "\n" not in str(error.value)


def test_a_file_without_questions_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_questions(str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no question there"):
        read_questions(str(tmp_path / "empty.jsonl"))
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not readable as text"):
        read_questions(str(tmp_path / "bytes.jsonl"))
