"""The pictures of one run: source beside decoded, and the training curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot: no screen is needed

import matplotlib.pyplot as plt
from torch import Tensor

from lightning_inr.paths import writing

ERROR_GAIN = 4


class Compared(NamedTuple):
    """One frame for the comparison: both (3, H, W) uint8, PSNR in dB."""

    number: int
    source: Tensor
    decoded: Tensor
    psnr: float


def draw_comparison(frames: Sequence[Compared], target: Path) -> None:
    """Rows of source, decoded frame, and their absolute difference, enlarged, as a PNG."""
    height, width = frames[0].source.shape[1:]
    figure, axes = plt.subplots(
        len(frames), 3, figsize=(12, 4.2 * len(frames) * height / width + 0.4), squeeze=False, layout="constrained"
    )
    for row, frame in zip(axes, frames, strict=True):
        difference = (frame.source.int() - frame.decoded.int()).abs().mul(ERROR_GAIN).clamp_max(255).byte()
        titles = (f"frame {frame.number}, source", f"decoded, {frame.psnr:.2f} dB", f"difference x {ERROR_GAIN}")
        for axis, picture, title in zip(row, (frame.source, frame.decoded, difference), titles, strict=True):
            axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=10)
            axis.set_axis_off()
    _save(figure, target)


def draw_training(seconds: Sequence[float], psnr: Sequence[float], loss: Sequence[float], target: Path) -> None:
    """PSNR (dB) and loss against seconds of fitting, as a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot(seconds, psnr)
    left.set(xlabel="seconds of fitting", ylabel="PSNR of training frames (dB)")
    right.plot(seconds, loss)
    right.set(xlabel="seconds of fitting", ylabel="loss", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    _save(figure, target)


def _save(figure: plt.Figure, target: Path) -> None:
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)
