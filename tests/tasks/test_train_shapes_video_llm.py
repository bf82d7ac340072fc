"""A small video language model through the command line: trained, saved, evaluated; then only evaluated."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_inr.paths import alone_in
from tests.conftest import Outcome

SMALL = [
    "task=train_shapes_video_llm", "dataset=shapes", "dataset.listing.videos=3", "teacher_steps=20",
    "training.frames=6", "training.conversations=4", "training.stories=4", "questions_each=2", "shown=4", "device=cpu",
]  # fmt: skip


def test_train_then_measure(cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    first = cli(*SMALL)
    assert first.code == 0, first.err
    assert not (tmp_path / "runs/shapes_video_llm.ckpt").exists()
    weights = tmp_path / "runs/shapes_video_llm/model.safetensors"
    written = weights.stat().st_mtime_ns
    assert "percent of 6 questions" in first.out
    assert "most common answer" in first.out
    again = cli(*SMALL)
    assert "holds a video language model" in again.out
    assert weights.stat().st_mtime_ns == written
    assert first.out.splitlines()[:4] == again.out.splitlines()[1:5]


def test_one_process_trains_in_a_folder(cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    with alone_in(Path("taken"), "video_llm_dir"):
        outcome = cli(*SMALL, "video_llm_dir=taken")
    assert outcome.code == 1
    assert "video_llm_dir=taken: another process works there; wait or choose another" in outcome.err


def test_other_datasets_are_refused(cli: Callable[..., Outcome]) -> None:
    assert "add dataset=shapes" in cli("task=train_shapes_video_llm").error
