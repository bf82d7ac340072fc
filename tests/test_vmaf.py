"""VMAF of tiny videos."""

import pytest
import torch

from lightning_inr import ffmpeg
from lightning_inr.vmaf import figures, vmaf
from tests.conftest import moving_square


def test_vmaf_falls_with_noise() -> None:
    video = moving_square(5, 180, 320)
    noisy = [(video + torch.randn(video.shape) * size).clamp(0, 255).to(torch.uint8) for size in (5, 40)]
    alike, little, much = (vmaf(frames, video, 25.0).value for frames in (video, *noisy))
    assert alike is not None
    assert little is not None
    assert much is not None
    assert 90 < alike <= 100
    assert alike > little > much


def test_odd_sides_are_measured() -> None:
    video = moving_square(3, 37, 51)
    assert vmaf(iter(video), iter(video), 29.97).value is not None


def test_without_libvmaf_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "has", lambda kind, name: False)
    found = vmaf(moving_square(2), moving_square(2), 25.0)
    assert found.value is None
    assert "no libvmaf" in str(figures(found)["vmaf_reason"])
