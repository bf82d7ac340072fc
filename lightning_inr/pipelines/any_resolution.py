"""One file rendered at several sizes: speed, and quality compared with resized native frames (Latent-INR, Fig. 4)."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
from torch import Tensor

from lightning_inr.codec import StoredVideo
from lightning_inr.data.sources.source import VideoSource, resize
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.errors import UserError
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.pipelines.evaluation import frames_per_second
from lightning_inr.pipelines.reference_codecs import decode_stream
from lightning_inr.report.figures import draw_crops

X265_ENCODING = Encoding("libx265", {"preset": "medium", "crf": "30", "x265-params": "log-level=none"})


class ResolutionJob(NamedTuple):
    """The inputs of the measurement, the same for every size."""

    model: StoredVideo
    open_at: Callable[[int | None, int | None], VideoSource]  # the source at a height and width; None: its own
    largest: tuple[int, int]  # native height and width of the source; there are no true frames of a larger size
    numbers: range  # of the frames that are compared
    folder: Path  # for pictures


class ResolutionResult(NamedTuple):
    """Measurements at one size; PSNRs are None where the source has no true frames of that size."""

    factor: float
    height: int
    width: int
    fps: float
    x265_fps: float | None  # of the decoder, for a stream of that size; None where x265 refuses it as too small
    psnr: float | None  # dB, rendered at that size
    psnr_resized: float | None  # dB, the native decode resized: by area, bicubic


def measure_at_size(job: ResolutionJob, factor: float) -> ResolutionResult:
    """Speed at `factor` times the native size, and quality over the job's frames where that size has true frames."""
    model, numbers, video = job.model, job.numbers, job.model.video
    size = (max(1, round(video.height * factor)), max(1, round(video.width * factor)))
    source = job.open_at(*size)
    if source.frames < video.frames:
        raise UserError(f"the file holds {video.frames} frames, the dataset {source.frames}; give the file's source")
    true_frames = [source.read(number) for number in numbers]
    quality: list[float | None] = [None, None]
    if job.largest[0] >= size[0] and job.largest[1] >= size[1]:
        rendered = list(model.render(numbers, size))
        resized = [resize(frame, size) for frame in model.render(numbers)]
        quality = [_psnr(rendered, true_frames), _psnr(resized, true_frames)]
        if factor > 1:
            crops = {"true": true_frames[0], "rendered": rendered[0], "bicubic": resized[0]}
            draw_crops(crops, job.folder / f"crop_{factor:g}x.png")
    fps = frames_per_second(lambda: model.render(range(len(true_frames)), size), len(true_frames))
    return ResolutionResult(factor, *size, fps, _x265_speed(true_frames, video.fps), *quality)


def _x265_speed(frames: list[Tensor], fps: float) -> float | None:
    with TemporaryDirectory() as folder:
        stream = Path(folder) / "x265.hevc"
        try:
            encode_video(frames, stream, fps, X265_ENCODING)
        except av.FFmpegError:
            return None
        return frames_per_second(lambda: decode_stream(stream), len(frames))


def _psnr(frames: list[Tensor], true_frames: list[Tensor]) -> float:
    return fmean(
        float(psnr(float(mean_squares(a[None], b[None])), PEAK)) for a, b in zip(frames, true_frames, strict=True)
    )
