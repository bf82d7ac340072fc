"""Quality of held-out frames as rendered from the file, and of baselines that need no network."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.codec import StoredVideo
from lightning_inr.data.motion import motion_blend, optical_flows
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.progress import ProgressBar
from lightning_inr.report.figures import draw_strip


class Gap(NamedTuple):
    """Two neighbouring training frames and all between, (stride + 1, 3, H, W) uint8 each."""

    first: int  # number of the first of the two training frames
    source: Tensor
    decoded: Tensor


def measure_held_out(
    model: StoredVideo, source: VideoSource, picture: Path | None = None
) -> dict[str, dict[str, float]]:
    """PSNR (dB) of the training and of the held-out frames, and of baselines for the held-out ones; 8-bit RGB.

    Baselines: the blend of the two true neighbours, plain and motion-compensated, that of the two decoded ones, and the
    nearest true one (the earlier of two equally near). Each PSNR is the mean over frames; with `_mean_mse`, that of the
    mean squared error. `picture`: PNG to which the gap in the middle of the video is drawn.
    """
    errors: dict[str, list[float]] = defaultdict(list)
    last = model.video.training_frames[-1]
    for gap in _gaps(model, source):
        for name, frames in _estimates(gap).items():
            errors[name] += mean_squares(frames, gap.source[1:-1]).tolist()
        is_last = gap.first + model.video.stride == last
        ends = slice(None, None, model.video.stride) if is_last else slice(1)
        errors["seen"] += mean_squares(gap.decoded[ends], gap.source[ends]).tolist()
        if picture and gap.first <= last // 2 < gap.first + model.video.stride:
            drawn = {"decoded": gap.decoded, "blend of the true ends": _blend(gap.source)}
            draw_strip(gap.first, gap.source, drawn, picture)
    training = errors.pop("seen")
    return {"seen": _both_means({"psnr": training}), "held_out": _both_means(errors)}


def _gaps(model: StoredVideo, source: VideoSource) -> Iterator[Gap]:
    stride = model.video.stride
    end = source.read(0)  # each frame is read once: going back would decode a compressed video from a key frame again
    for first in ProgressBar(model.video.training_frames[:-1], "held out", leave=False, unit="gap"):
        numbers = range(first, first + stride + 1)
        true_frames = [end, *(source.read(number) for number in numbers[1:])]
        end = true_frames[-1]
        yield Gap(first, torch.stack(true_frames), torch.stack(list(model.render(numbers))))


def _estimates(gap: Gap) -> Mapping[str, Tensor]:
    """The estimates of each method for the frames between the two training frames, (stride - 1, 3, H, W)."""
    stride = len(gap.source) - 1
    nearest = [0 if 2 * step <= stride else stride for step in range(1, stride)]
    return {
        "psnr": gap.decoded[1:-1],
        "blend_true": _blend(gap.source)[1:-1],
        "blend_motion": _along_motion(gap.source)[1:-1],
        "blend_decoded": _blend(gap.decoded)[1:-1],
        "nearest": gap.source[nearest],
    }


def _blend(frames: Tensor) -> Tensor:
    """Linear blends from the first to the last frame, rounded."""
    share = torch.linspace(0, 1, len(frames))[:, None, None, None]
    return torch.lerp(frames[:1].float(), frames[-1:].float(), share).round_().to(torch.uint8)


def _along_motion(frames: Tensor) -> Tensor:
    """Motion-compensated blends from the first to the last frame."""
    flows = optical_flows(frames[0], frames[-1]).expand(len(frames), -1, -1, -1, -1)
    ends = frames[[0, -1]].unsqueeze(1).expand(-1, len(frames), -1, -1, -1)
    return motion_blend(ends[0], ends[1], flows, torch.linspace(0, 1, len(frames)))


def _both_means(errors: Mapping[str, list[float]]) -> dict[str, float]:
    means: dict[str, float] = {}
    for name, values in errors.items():
        mse = torch.tensor(values, dtype=torch.float64)
        means[name] = float(psnr(mse, PEAK).mean())
        means[f"{name}_mean_mse"] = float(psnr(mse.mean(), PEAK))
    return means
