from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_inr.data.sources.source import VideoSource
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines.held_out import measure_held_out
from lightning_inr.types import VideoShape
from tests.pictures import visible_share


class Tensors(VideoSource):
    """A video source in memory."""

    name = "tensors"

    def __init__(self, frames: Tensor) -> None:
        self.data, self.fps = frames, 25.0
        self.frames, _, self.height, self.width = frames.shape

    def read(self, index: int) -> Tensor:
        return self.data[index]


class TensorRepresentation(Tensors):
    """A representation whose rendered frames are given tensors."""

    def __init__(self, frames: Tensor, stride: int) -> None:
        super().__init__(frames)
        self.video = VideoShape(*self.shape[:4], stride=stride)

    def render(self, index: range) -> list[Tensor]:
        return [self.data[number] for number in index]


def test_motion_is_compensated_in_one_baseline() -> None:
    torch.manual_seed(0)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 20), (64, 120), mode="bicubic").clamp(0, 1)[0] * 255
    true = torch.stack([wide[..., shift : shift + 96] for shift in range(0, 18, 3)])[:5].to(torch.uint8)
    model = cast(VideoRepresentation, TensorRepresentation(true, 2))
    floors = measure_held_out(model, Tensors(true))["held_out"]
    assert floors["blend_motion"] > floors["blend_true"] + 5


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("stride", [2, 4])
def test_baselines_equal_those_by_numpy(tmp_path: Path, stride: int) -> None:
    true = torch.randint(0, 255, (9, 3, 8, 10), dtype=torch.uint8)
    decoded = (true.int() + torch.randint(-9, 9, true.shape)).clamp(0, 255).to(torch.uint8)
    model = cast(VideoRepresentation, TensorRepresentation(decoded, stride))
    found = measure_held_out(model, Tensors(true), tmp_path / "strip.png")

    t, d = true.numpy(), decoded.numpy()
    held = [n for n in range(9) if n % stride]
    blends = {n: ((n // stride) * stride, n % stride / stride) for n in held}

    def blend(frames: np.ndarray, n: int) -> np.ndarray:
        first, share = blends[n]
        return np.round((1 - share) * frames[first].astype(float) + share * frames[first + stride])

    nearest = {n: stride * (n // stride if n % stride <= stride / 2 else n // stride + 1) for n in held}
    expected = {
        "psnr": [psnr(d[n], t[n]) for n in held],
        "blend_true": [psnr(blend(t, n), t[n]) for n in held],
        "blend_decoded": [psnr(blend(d, n), t[n]) for n in held],
        "nearest": [psnr(t[nearest[n]], t[n]) for n in held],
    }
    for name, values in expected.items():
        assert found["held_out"][name] == pytest.approx(np.mean(values), abs=1e-3), name
        errors = [10 ** (-value / 10) for value in values]
        assert found["held_out"][f"{name}_mean_mse"] == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-3)
    training = [psnr(d[n], t[n]) for n in range(0, 9, stride)]
    assert found["seen"]["psnr"] == pytest.approx(np.mean(training), abs=1e-3)
    for video in (t, d):  # frame 5 is in the gap in the middle, frame 1 is not
        assert visible_share(tmp_path / "strip.png", video[5].transpose(1, 2, 0)) == 1
        assert visible_share(tmp_path / "strip.png", video[1].transpose(1, 2, 0)) < 0.5
