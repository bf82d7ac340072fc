"""One file rendered at several sizes: speed, and quality beside the native frames resized (Latent-INR, Fig. 4)."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
from torch import Tensor

from lightning_inr.data.sources.source import VideoSource, resize
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.errors import UserError
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines.evaluation import frames_per_second
from lightning_inr.pipelines.reference_codecs import decode_stream
from lightning_inr.report.figures import draw_crops

PEER = Encoding("libx265", {"preset": "medium", "crf": "30", "x265-params": "log-level=none"})


class Job(NamedTuple):
    """What is measured at every size."""

    model: VideoRepresentation
    open_at: Callable[[int | None, int | None], VideoSource]  # the source at a height and width; None: its own
    largest: tuple[int, int]  # height and width of the source as it comes: beyond it there is no truth
    numbers: range  # of the frames that are compared
    folder: Path  # for pictures


class AtSize(NamedTuple):
    """What one size gave; PSNRs are None where the source has no true frames of that size."""

    factor: float
    height: int
    width: int
    fps: float
    x265_fps: float | None  # of the decoder, for a stream of that size; None where x265 refuses it as too small
    psnr: float | None  # dB, rendered at that size
    psnr_resized: float | None  # dB, the native decode resized: by area, bicubic


def at_size(job: Job, factor: float) -> AtSize:
    """Speed at `factor` times the native size, and quality over the job's frames where there is a truth."""
    model, numbers, video = job.model, job.numbers, job.model.video
    size = (max(1, round(video.height * factor)), max(1, round(video.width * factor)))
    source = job.open_at(*size)
    if source.frames < video.frames:
        raise UserError(f"the file holds {video.frames} frames, the dataset {source.frames}; give the file's source")
    true = [source.read(number) for number in numbers]
    quality: list[float | None] = [None, None]
    if job.largest[0] >= size[0] and job.largest[1] >= size[1]:
        rendered = list(model.render(numbers, size))
        resized = [resize(frame, size) for frame in model.render(numbers)]
        quality = [_psnr(rendered, true), _psnr(resized, true)]
        if factor > 1:
            shown = {"true": true[0], "rendered": rendered[0], "bicubic": resized[0]}
            draw_crops(shown, job.folder / f"crop_{factor:g}x.png")
    fps = frames_per_second(lambda: model.render(range(len(true)), size), len(true))
    return AtSize(factor, *size, fps, _peer_speed(true, video.fps), *quality)


def _peer_speed(frames: list[Tensor], fps: float) -> float | None:
    with TemporaryDirectory() as folder:
        stream = Path(folder) / "peer.hevc"
        try:
            encode_video(frames, stream, fps, PEER)
        except av.FFmpegError:
            return None
        return frames_per_second(lambda: decode_stream(stream), len(frames))


def _psnr(frames: list[Tensor], true: list[Tensor]) -> float:
    return fmean(float(psnr(float(mean_squares(a[None], b[None])), PEAK)) for a, b in zip(frames, true, strict=True))
