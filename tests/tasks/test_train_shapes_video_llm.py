"""A video language model from the command line: trained, saved, measured; then only measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

SMALL = [
    "task=train_shapes_video_llm", "dataset=shapes", "dataset.listing.videos=3", "teacher_steps=20",
    "teaching.frames=6", "teaching.talks=4", "teaching.stories=4", "questions_each=2", "shown=4", "device=cpu",
]  # fmt: skip


def test_train_then_measure(cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    first = cli(*SMALL)
    assert first.code == 0, first.err
    weights = tmp_path / "runs/shapes_video_llm/model.safetensors"
    written = weights.stat().st_mtime_ns
    assert "percent of 6 questions" in first.out
    assert "most common answer" in first.out
    again = cli(*SMALL)
    assert "holds a video language model" in again.out
    assert weights.stat().st_mtime_ns == written
    assert first.out.splitlines()[:4] == again.out.splitlines()[1:5]


def test_other_datasets_are_refused(cli: Callable[..., Outcome]) -> None:
    assert "add dataset=shapes" in cli("task=train_shapes_video_llm").error
