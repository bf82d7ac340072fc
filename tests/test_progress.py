import json
import sys

import pytest

from lightning_inr.errors import UserError
from lightning_inr.progress import ProgressBar, current_progress, use_progress


def count(mode: str) -> None:
    with use_progress(mode), ProgressBar(range(3), "count", unit="step") as bar:
        for number in bar:
            bar.show(f"number {number}", number=number)


def test_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    count("json")
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.err.splitlines()]
    assert captured.out == ""
    assert (lines[-1]["stage"], lines[-1]["done"], lines[-1]["total"], lines[-1]["unit"]) == ("count", 3, 3, "step")
    assert lines[-1]["number"] == 2
    assert lines[-1]["seconds"] >= 0


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    count("auto")
    assert "count: 100%" in capsys.readouterr().err


def test_an_error_message_after_a_bar_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar(total=3, desc="count", leave=False)
    bar.close()
    print("error: …", file=sys.stderr)
    assert capsys.readouterr().err.splitlines()[-1] == "error: …"  # a carriage return begins a line, too


def test_none(capsys: pytest.CaptureFixture[str]) -> None:
    count("none")
    assert capsys.readouterr() == ("", "")


def test_the_mode_holds_within_its_context_and_a_wrong_one_is_named() -> None:
    with use_progress("json"):
        assert current_progress() == "json"
    assert current_progress() == "auto"
    with pytest.raises(UserError, match=r"progress=loud: choose one of auto, json, none"), use_progress("loud"):
        pass
