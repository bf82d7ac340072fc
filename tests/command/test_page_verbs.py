"""The verbs that open a page: what they pass to it, and their errors of one line."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lightning_inr import demo
from lightning_inr.codec import Codec
from lightning_inr.command.app import app
from lightning_inr.demo.options import DemoOptions
from tests.conftest import small_model

OPTIONS = ["--source", "clip.mp4", "--projector", "p.linrp", "--video-llm", "tiny", "--device", "cpu"]
SERVER = ["--host", "0.0.0.0", "--port", "8000", "--no-browser"]
GIVEN = DemoOptions(Path("clip.mp4"), Path("p.linrp"), "tiny", "cpu")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["play", "a.linr"], ("a.linr", "127.0.0.1", None, True, "play", DemoOptions())),
        (["play", "a.linr", *OPTIONS, *SERVER], ("a.linr", "0.0.0.0", 8000, False, "play", GIVEN)),
        (["demo", "runs"], ("runs", "127.0.0.1", None, True, "play", DemoOptions())),
        (["demo", "runs", "--tab", "ask", *OPTIONS, *SERVER], ("runs", "0.0.0.0", 8000, False, "ask", GIVEN)),
    ],
)
def test_options_reach_the_page(
    arguments: list[str], expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(demo, "launch", lambda path, *rest: launched.append((str(path), *rest)))
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert launched == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "none.linr"], "path=none.linr: no such file"),
        (["play", "clip.linr", "--source", "none.mp4"], "source=none.mp4: no such file"),
        (["play", "clip.linr", "--projector", "none"], "projector=none: no such file"),
        (["demo", "clip.linr", "--tab", "music"], "tab=music: choose one of play, encode"),
        (["demo", "clip.linr", "--port", "70000"], "port=70000 of 127.0.0.1"),
    ],
)
def test_wrong_values_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.linr").write_bytes(Codec().encode(small_model()))
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 1
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
