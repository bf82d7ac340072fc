"""Held-out frames as the file renders them, beside floors that need no network."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from lightning_inr.data.sources.source import VideoSource
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.report.figures import draw_strip


class Gap(NamedTuple):
    """Two neighbouring training frames and all between, (stride + 1, 3, H, W) uint8 each."""

    first: int  # number of the training frame it begins with
    source: Tensor
    decoded: Tensor


def measure_held_out(
    model: VideoRepresentation, source: VideoSource, picture: Path | None = None
) -> dict[str, dict[str, float]]:
    """PSNR (dB) of the training and of the held-out frames, and of the held-out ones' floors; 8-bit RGB.

    Floors: the blend of the two true neighbours, of the two decoded ones, the nearest true one (of two
    equally near, the earlier). Each as the mean over frames, and (`_mean_mse`) of the mean squared error.
    `picture`: where the gap in the middle of the video is drawn.
    """
    errors: dict[str, list[float]] = {"seen": [], "psnr": [], "blend_true": [], "blend_decoded": [], "nearest": []}
    last = model.video.training_frames[-1]
    for gap in _gaps(model, source):
        for name, frames in _guesses(gap).items():
            errors[name] += mean_squares(frames, gap.source[1:-1]).tolist()
        whole = gap.first + model.video.stride == last
        ends = slice(None, None, model.video.stride) if whole else slice(1)
        errors["seen"] += mean_squares(gap.decoded[ends], gap.source[ends]).tolist()
        if picture and gap.first <= last // 2 < gap.first + model.video.stride:
            guesses = {"decoded": gap.decoded, "blend of the true ends": _blend(gap.source)}
            draw_strip(gap.first, gap.source, guesses, picture)
    seen = errors.pop("seen")
    return {"seen": _both_means({"psnr": seen}), "held_out": _both_means(errors)}


def _gaps(model: VideoRepresentation, source: VideoSource) -> Iterator[Gap]:
    stride = model.video.stride
    end = source.read(0)  # read once: going back would decode a compressed video anew from its last key frame
    for first in tqdm(model.video.training_frames[:-1], "held out", leave=False, unit="gap"):
        numbers = range(first, first + stride + 1)
        true = [end, *(source.read(number) for number in numbers[1:])]
        end = true[-1]
        yield Gap(first, torch.stack(true), torch.stack(list(model.render(numbers))))


def _guesses(gap: Gap) -> Mapping[str, Tensor]:
    """What each method puts between the ends, (stride - 1, 3, H, W)."""
    stride = len(gap.source) - 1
    nearest = [0 if 2 * step <= stride else stride for step in range(1, stride)]
    return {
        "psnr": gap.decoded[1:-1],
        "blend_true": _blend(gap.source)[1:-1],
        "blend_decoded": _blend(gap.decoded)[1:-1],
        "nearest": gap.source[nearest],
    }


def _blend(frames: Tensor) -> Tensor:
    """The first frame turning linearly into the last, rounded."""
    share = torch.linspace(0, 1, len(frames))[:, None, None, None]
    return torch.lerp(frames[:1].float(), frames[-1:].float(), share).round_().to(torch.uint8)


def _both_means(errors: Mapping[str, list[float]]) -> dict[str, float]:
    means: dict[str, float] = {}
    for name, values in errors.items():
        mse = torch.tensor(values, dtype=torch.float64)
        means[name] = float(psnr(mse, PEAK).mean())
        means[f"{name}_mean_mse"] = float(psnr(mse.mean(), PEAK))
    return means
