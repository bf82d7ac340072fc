"""A teacher from the command line: trained, saved, measured; then only measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

SMALL = [
    "task=train_shapes_clip", "dataset=shapes", "dataset.listing.videos=4", "teacher_steps=4", "teaching.tasks=2",
    "teaching.videos=2", "clip.vision_cfg.width=8", "clip.text_cfg.layers=1", "clip.embed_dim=16", "device=cpu",
]  # fmt: skip


def test_train_then_measure(cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    first = cli(*SMALL)
    assert first.code == 0, first.err
    assert (tmp_path / "runs/shapes/videos/video0.mp4").exists()
    weights = tmp_path / "runs/shapes_teacher/open_clip_model.safetensors"
    written = weights.stat().st_mtime_ns
    assert "text to video" in first.out
    again = cli(*SMALL)
    assert "holds a teacher" in again.out
    assert weights.stat().st_mtime_ns == written
    assert first.out.splitlines()[:4] == again.out.splitlines()[1:5]


def test_other_datasets_are_refused(cli: Callable[..., Outcome]) -> None:
    assert "add dataset=shapes" in cli("task=train_shapes_clip").error
