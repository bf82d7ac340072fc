"""A small CLIP through the command line: trained, saved and evaluated; the second time only evaluated."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_inr.paths import alone_in
from tests.conftest import Outcome

SMALL = [
    "task=train_shapes_clip", "dataset=shapes", "dataset.listing.videos=4", "teacher_steps=4", "training.tasks=2",
    "training.videos=2", "clip.vision_cfg.width=8", "clip.text_cfg.layers=1", "clip.embed_dim=16", "device=cpu",
]  # fmt: skip


def test_train_then_measure(cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    first = cli(*SMALL)
    assert first.code == 0, first.err
    assert (tmp_path / "runs/shapes/videos/video0.mp4").exists()
    assert not (tmp_path / "runs/shapes_teacher.ckpt").exists()
    weights = tmp_path / "runs/shapes_teacher/open_clip_model.safetensors"
    written = weights.stat().st_mtime_ns
    assert "text to video" in first.out
    again = cli(*SMALL)
    assert "holds a teacher" in again.out
    assert weights.stat().st_mtime_ns == written
    assert first.out.splitlines()[:4] == again.out.splitlines()[1:5]


def test_one_process_trains_in_a_folder(cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    with alone_in(Path("taken"), "teacher_dir"):
        outcome = cli(*SMALL, "teacher_dir=taken")
    assert outcome.code == 1
    assert "teacher_dir=taken: another process works there; wait or choose another" in outcome.err


def test_other_datasets_are_refused(cli: Callable[..., Outcome]) -> None:
    assert "add dataset=shapes" in cli("task=train_shapes_clip").error
