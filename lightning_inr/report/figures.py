"""Figures of one run: source and decoded frames, training curves, resolutions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: needs no display

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.paths import writing

ERROR_GAIN = 4  # factor of the differences shown by `draw_comparison`


class ComparedFrame(NamedTuple):
    """A frame of `draw_comparison`: source and decoded, (3, H, W) uint8, and the PSNR in dB."""

    number: int
    source: Tensor
    decoded: Tensor
    psnr: float


def draw_comparison(frames: Sequence[ComparedFrame], target: Path) -> None:
    """Write a PNG with a row per frame: source, decoded frame, and their absolute difference times ERROR_GAIN."""
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


def draw_strip(first: int, source: Tensor, estimates: Mapping[str, Tensor], target: Path) -> None:
    """Write a PNG of source frames (N, 3, H, W) from number `first` on, and a row below for each of `estimates`."""
    rows = {"source": source, **estimates}
    count, _, height, width = source.shape
    figure, axes = plt.subplots(
        len(rows), count, figsize=(2.6 * count, 2.9 * len(rows) * height / width + 0.3), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, (name, frames) in zip(axes, rows.items(), strict=True):
        quality = psnr(mean_squares(frames, source), PEAK)
        for step, (axis, frame) in enumerate(zip(line, frames, strict=True)):
            axis.imshow(frame.permute(1, 2, 0).numpy(), interpolation="nearest")
            title = f"{name}, frame {first + step}" if name == "source" else f"{name}, {quality[step]:.1f} dB"
            axis.set_title(title, fontsize=8)
            axis.set_axis_off()
    _save(figure, target)


def draw_resolutions(heights: Sequence[int], fps: Mapping[str, Sequence[float]], target: Path) -> None:
    """Write a PNG of decoding speed (frames/s) against frame height (pixels), with a line per decoder."""
    figure, axis = plt.subplots(figsize=(5.6, 4), layout="constrained")
    for name, values in fps.items():
        axis.plot(heights, values, marker="o", label=name)
    axis.set(xlabel="height (pixels)", ylabel="frames/s", xscale="log", yscale="log", xticks=heights)
    axis.set_xticks(heights, [str(height) for height in heights])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, target)


def draw_crops(frames: Mapping[str, Tensor], target: Path, side: int = 160) -> None:
    """Write a PNG of the central `side` x `side` pixels of each frame (3, H, W), side by side."""
    figure, axes = plt.subplots(1, len(frames), figsize=(4 * len(frames), 4.3), squeeze=False, layout="constrained")
    for axis, (name, frame) in zip(axes[0], frames.items(), strict=True):
        top, left = (max(0, (length - side) // 2) for length in frame.shape[1:])
        axis.imshow(frame[:, top : top + side, left : left + side].permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    _save(figure, target)


def draw_training(seconds: Sequence[float], psnr: Sequence[float], loss: Sequence[float], target: Path) -> None:
    """Write a PNG of PSNR (dB) and loss against seconds of fitting."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot(seconds, psnr)
    left.set(xlabel="seconds of fitting", ylabel="PSNR of training frames (dB)")
    right.plot(seconds, loss)
    right.set(xlabel="seconds of fitting", ylabel="loss", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)
