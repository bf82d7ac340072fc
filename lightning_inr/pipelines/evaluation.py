"""Figures of a `.linr` file against its source, measured in a separate process that gets the file only."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_inr.chat.scores import compare_tokens
from lightning_inr.codec import Limits, StoredVideo, current_limits, describe_file, read_video, use_limits
from lightning_inr.data.sources.source import OpenSource, VideoSource
from lightning_inr.data.writer import write_frames
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.metrics import PEAK, FrameQuality, compare, psnr, summarize_quality
from lightning_inr.pipelines.held_out import measure_held_out
from lightning_inr.processes import process_pool, starting_processes
from lightning_inr.progress import ProgressBar, current_progress, use_progress
from lightning_inr.ranges import FileRanges
from lightning_inr.report.figures import ComparedFrame, draw_comparison
from lightning_inr.types import VideoShape
from lightning_inr.vmaf import figures, vmaf

SECONDS_OF_TIMING = 3.0


class EvaluationRequest(NamedTuple):
    """The inputs and options of a measurement, pickled for the measuring process."""

    bitstream: str
    open_source: OpenSource  # of the video that the file was fitted to
    device: str
    pictures: str | None = None  # folder for decoded.mp4 and comparison.png
    timed: bool = True  # whether decoding is timed
    teacher: NDArray[np.float32] | None = None  # (frames, S): the teacher's embedding of every frame, held out or not
    tokens: NDArray[np.float32] | None = None  # (K, d): the teacher's visual tokens
    vmaf: bool = False  # whether VMAF is measured
    limits: Limits = Limits()  # of the file; a command's limits do not apply in another process
    progress: str = "auto"  # how progress is reported, see `use_progress`; a command's mode does not apply there either


def measure_in_new_process(request: EvaluationRequest) -> dict[str, Any]:
    """`measure` in a new process, so that the figures depend on the file alone and not on the state of a fit."""
    with measuring_process() as measure_in_process:
        return measure_in_process(request)


@contextmanager
def measuring_process() -> Iterator[Callable[[EvaluationRequest], dict[str, Any]]]:
    """Yield a function that runs `measure` in another process, which is started by the first request.

    The process ends with this one, however this one ends, and ignores SIGINT.
    """
    with process_pool(1) as pool:

        def measure_in_process(request: EvaluationRequest) -> dict[str, Any]:
            try:
                with starting_processes():
                    figures = pool.submit(
                        measure, request._replace(limits=current_limits(), progress=current_progress())
                    )
                return figures.result()
            except BrokenProcessPool as error:
                raise UserError(
                    f"bitstream={request.bitstream}: the measuring process ended early; is there enough memory?"
                ) from error

        yield measure_in_process


def measure(request: EvaluationRequest) -> dict[str, Any]:
    """Decode the file and compare every frame with its source; figures by their names in result.json."""
    with use_progress(request.progress):
        return _measure(request)


def _measure(request: EvaluationRequest) -> dict[str, Any]:
    device = choose_device(request.device)
    start = time.perf_counter()
    data = FileRanges(request.bitstream)
    with use_limits(request.limits):
        model = read_video(data, device)
        load_seconds = time.perf_counter() - start
        described = describe_file(data)
    video = model.video
    source = request.open_source().trim_to_stride(video.stride)
    check_same_video(request.bitstream, source, video)
    speed = {}
    if request.timed:
        speed["decode_fps"] = frames_per_second(lambda: model.render(range(video.frames)), video.frames)
    measured = MeasuredFrames(model, source)
    if request.pictures:
        write_frames(measured, Path(request.pictures) / "decoded.mp4", video.fps)
        _draw_comparison(model, source, measured.quality, Path(request.pictures) / "comparison.png")
    else:
        deque(measured, maxlen=0)
    held_out = {}
    if video.stride > 1:
        held_out = measure_held_out(model, source, Path(request.pictures) / "strip.png" if request.pictures else None)
    return {
        "video": source.name,
        "frames": video.frames,
        "height": video.height,
        "width": video.width,
        "fps": video.fps,
        "params": described["params"],
        "bytes": len(data),
        "role_bytes": {role: values["bytes"] for role, values in described["roles"].items()},
        "passes": described["passes"],
        "bpp": described["bpp"],
        **summarize_quality(measured.quality),
        **(measure_vmaf(model, source) if request.vmaf else {}),
        **held_out,
        **({} if request.teacher is None else {"alignment": measure_alignment(model, request.teacher)}),
        **measure_tokens(model, request.tokens),
        "load_seconds": load_seconds,
        **speed,
        "device": _describe(device),
    }


def measure_vmaf(model: StoredVideo, source: VideoSource) -> dict[str, Any]:
    """VMAF of all frames, with the keys of result.json; decodes all frames once more."""
    frames = range(source.frames)
    return figures(vmaf(model.render(frames), map(source.read, frames), source.fps))


@torch.inference_mode()
def measure_alignment(model: StoredVideo, teacher: NDArray[np.float32]) -> dict[str, Any]:
    """The teacher's name, and the mean cosine to teacher (frames, S), of training and, if any, of held-out frames."""
    index = torch.arange(model.video.frames, device=model.device)
    cosines = F.cosine_similarity(model.frame_embeddings(index.float()).cpu(), torch.from_numpy(teacher))
    is_training = torch.zeros(len(cosines), dtype=torch.bool)
    is_training[list(model.video.training_frames)] = True
    assert model.embedding_space is not None
    held_out = {} if is_training.all() else {"cos_held_out": float(cosines[~is_training].mean())}
    return {"teacher": model.embedding_space.teacher, "cos_seen": float(cosines[is_training].mean()), **held_out}


@torch.inference_mode()
def measure_tokens(model: StoredVideo, target: NDArray[np.float32] | None) -> dict[str, Any]:
    """{"tokens": distances of the file's visual tokens to the teacher's (K, d)}; empty if there are no tokens."""
    if target is None or model.token_space is None:
        return {}
    distances = compare_tokens(model.visual_tokens().cpu(), torch.from_numpy(target))
    return {"tokens": {"model": model.token_space.model, **distances._asdict()}}


def frames_per_second(render: Callable[[], Iterable[Tensor]], frames: int) -> float:
    """Frames per second of the fastest pass of `render`, which yields `frames` frames, within SECONDS_OF_TIMING.

    One pass over a short video would also measure kernel selection, thread start and other load of the machine.
    """
    best, first_start = math.inf, time.perf_counter()
    while best == math.inf or time.perf_counter() - first_start < SECONDS_OF_TIMING:
        start = time.perf_counter()
        deque(render(), maxlen=0)
        best = min(best, time.perf_counter() - start)
    return frames / best


class MeasuredFrames:
    """Iterates over the decoded frames of a model and measures the quality of each."""

    def __init__(self, model: StoredVideo, source: VideoSource) -> None:
        self.model, self.source = model, source
        self.quality: list[FrameQuality] = []

    def __iter__(self) -> Iterator[Tensor]:
        frames = self.model.render(range(self.source.frames))
        for index, frame in enumerate(ProgressBar(frames, "measure", self.source.frames, leave=False, unit="frame")):
            self.quality.append(compare(frame.to(self.model.device), self.source.read(index).to(self.model.device)))
            yield frame


def check_same_video(bitstream: str, source: VideoSource, video: VideoShape) -> None:
    """UserError if `source` has another number of frames or another frame size than the file."""
    frames, height, width = expected = video.frames, video.height, video.width
    if (source.frames, source.height, source.width) != expected:
        raise UserError(
            f"bitstream={bitstream} holds {frames} frames of {width}x{height}, the dataset {source.frames} of "
            f"{source.width}x{source.height}; add dataset.frames={frames} dataset.height={height} dataset.width={width}"
        )


def _draw_comparison(model: StoredVideo, source: VideoSource, quality: list[FrameQuality], target: Path) -> None:
    """Draw the first, the middle and the worst frame."""
    worst = max(range(len(quality)), key=lambda index: quality[index].mse)
    chosen = sorted({0, len(quality) // 2, worst})
    rows = [
        ComparedFrame(index, source.read(index), frame, float(psnr(quality[index].mse, PEAK)))
        for index, frame in zip(chosen, model.render(chosen), strict=True)
    ]
    draw_comparison(rows, target)


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()}"
