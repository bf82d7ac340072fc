"""The default model and training on degenerate clips: a file is written and all values are finite."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import Outcome, moving_square, write_images

CLIPS: dict[str, Callable[[], Tensor]] = {
    "one frame": lambda: moving_square(1),
    "two frames": lambda: moving_square(2),
    "a still": lambda: moving_square(1).repeat(8, 1, 1, 1),
    "noise": lambda: torch.randint(0, 256, (6, 3, 48, 64), dtype=torch.uint8),
    "black": lambda: torch.zeros(6, 3, 48, 64, dtype=torch.uint8),
    "a cut on every frame": lambda: (torch.rand(8, 3, 1, 1) * 255).to(torch.uint8).repeat(1, 1, 48, 64),
    "many small frames": lambda: moving_square(400, 16, 24),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_every_clip_gives_a_file(kind: str, cli: Callable[..., Outcome], tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", CLIPS[kind]())
    outcome = cli("dataset=file", f"dataset.path={folder}", "run_dir=run", "max_steps=40")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert math.isfinite(result["psnr"])
    assert result["bytes"] == (tmp_path / "run" / "video.linr").stat().st_size


def test_a_still_video_takes_few_bytes_beside_its_network(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", CLIPS["black"]())
    outcome = cli("dataset=file", f"dataset.path={folder}", "run_dir=run", "max_steps=1500", "rate_weight=0.1")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["psnr"] > 35
    assert not result["collapsed"]  # while its error rises, its bits fall
    assert result["bytes"] < 5_000


def test_a_size_that_cannot_be_reached_is_refused(cli: Callable[..., Outcome], images: Path) -> None:
    outcome = cli("dataset=file", f"dataset.path={images}", "run_dir=run", "max_steps=40", "bpp=1e-4")
    assert outcome.code == 1
    assert "bpp=0.0001: this model and video allow" in outcome.error
