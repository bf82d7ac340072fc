"""The figures of a `.linr` file against its source, measured in a process that reads nothing but the file."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lightning_inr.chat.scores import compare_tokens
from lightning_inr.codec import Limits, current_limits, decode, describe, use_limits
from lightning_inr.data.sources.source import OpenSource, VideoSource
from lightning_inr.data.writer import write_frames
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.metrics import PEAK, FrameQuality, compare, psnr, summarize_quality
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import read_bytes
from lightning_inr.pipelines.held_out import measure_held_out
from lightning_inr.report.figures import Compared, draw_comparison
from lightning_inr.types import VideoShape
from lightning_inr.vmaf import figures, vmaf

SECONDS_OF_TIMING = 3.0


class EvaluationRequest(NamedTuple):
    """What is measured, and how; it is pickled for the measuring process."""

    bitstream: str
    open_source: OpenSource  # of the video that the file was fitted to
    device: str
    pictures: str | None = None  # folder for decoded.mp4 and comparison.png
    timed: bool = True  # whether decoding is timed
    teacher: NDArray[np.float32] | None = None  # (frames, S): the teacher's embedding of every frame, held out or not
    tokens: NDArray[np.float32] | None = None  # (K, d): the teacher's visual tokens
    vmaf: bool = False  # whether VMAF is measured
    limits: Limits = Limits()  # of the file; those of a command do not hold in another process


def measure_apart(request: EvaluationRequest) -> dict[str, Any]:
    """`measure` in a fresh process: nothing of a fit can leak into its figures."""
    with measuring_process() as measure_there:
        return measure_there(request)


@contextmanager
def measuring_process() -> Iterator[Callable[[EvaluationRequest], dict[str, Any]]]:
    """Yield a function that runs `measure` in another process, which is started by the first request.

    The process ends with this one, however this one ends, and ignores SIGINT.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning, initializer=_end_with_parent) as pool:

        def measure_there(request: EvaluationRequest) -> dict[str, Any]:
            try:
                with _no_interrupts_in_children():
                    figures = pool.submit(measure, request._replace(limits=current_limits()))
                return figures.result()
            except BrokenProcessPool as error:
                message = (
                    f"bitstream={request.bitstream}: the measuring process died; is there enough memory? A script "
                    'calls fit below if __name__ == "__main__":'
                )
                raise UserError(message) from error

        try:
            yield measure_there
        except (KeyboardInterrupt, SystemExit):
            for process in multiprocessing.active_children():  # or the pool would wait for its figures
                process.kill()
            raise


def _end_with_parent() -> None:
    """Have this process end when its parent does: the pool's own pipe stays open after a kill."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _no_interrupts_in_children() -> Iterator[None]:
    """Processes that start here ignore SIGINT: Ctrl-C sends it to all processes of a terminal at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def measure(request: EvaluationRequest) -> dict[str, Any]:
    """Decode the file, compare every frame with its source; figures named as in result.json."""
    device = choose_device(request.device)
    start = time.perf_counter()
    data = read_bytes(request.bitstream, "bitstream")
    with use_limits(request.limits):
        model = decode(data, device)
    load_seconds = time.perf_counter() - start
    video = model.video
    source = request.open_source().trim_to_stride(video.stride)
    check_same_video(request.bitstream, source, video)
    speed = {}
    if request.timed:
        speed["decode_fps"] = frames_per_second(lambda: model.render(range(video.frames)), video.frames)
    watched = Watched(model, source)
    if request.pictures:
        write_frames(watched, Path(request.pictures) / "decoded.mp4", video.fps)
        _draw_comparison(model, source, watched.quality, Path(request.pictures) / "comparison.png")
    else:
        deque(watched, maxlen=0)
    between = {}
    if video.stride > 1:
        between = measure_held_out(model, source, Path(request.pictures) / "strip.png" if request.pictures else None)
    return {
        "video": source.name,
        "frames": video.frames,
        "height": video.height,
        "width": video.width,
        "fps": video.fps,
        "params": sum(tensor.numel() for tensor in model.state_dict().values()),
        "bytes": len(data),
        "role_bytes": {role: described["bytes"] for role, described in describe(data)["roles"].items()},
        "passes": model.passes_per_frame,
        "bpp": 8 * len(data) / (video.frames * video.height * video.width),
        **summarize_quality(watched.quality),
        **(measure_vmaf(model, source) if request.vmaf else {}),
        **between,
        **({} if request.teacher is None else {"alignment": measure_alignment(model, request.teacher)}),
        **measure_tokens(model, request.tokens),
        "load_seconds": load_seconds,
        **speed,
        "device": _describe(device),
    }


def measure_vmaf(model: VideoRepresentation, source: VideoSource) -> dict[str, Any]:
    """VMAF of all frames, as result.json has it; they are decoded once more for it."""
    frames = range(source.frames)
    return figures(vmaf(model.render(frames), map(source.read, frames), source.fps))


@torch.inference_mode()
def measure_alignment(model: VideoRepresentation, teacher: NDArray[np.float32]) -> dict[str, Any]:
    """The teacher's name, and the mean cosine to teacher (frames, S), of training and, if any, of held-out frames."""
    index = torch.arange(model.video.frames, device=model.device)
    angles = F.cosine_similarity(model.frame_embeddings(index.float()).cpu(), torch.from_numpy(teacher))
    seen = torch.zeros(len(angles), dtype=torch.bool)
    seen[list(model.video.training_frames)] = True
    assert model.embedding_space is not None
    held_out = {} if seen.all() else {"cos_held_out": float(angles[~seen].mean())}
    return {"teacher": model.embedding_space.teacher, "cos_seen": float(angles[seen].mean()), **held_out}


@torch.inference_mode()
def measure_tokens(model: VideoRepresentation, target: NDArray[np.float32] | None) -> dict[str, Any]:
    """How near the file's own tokens are to the teacher's (K, d), under "tokens"; nothing where it has none."""
    if target is None or model.token_space is None:
        return {}
    nearness = compare_tokens(model.visual_tokens().cpu(), torch.from_numpy(target))
    return {"tokens": {"model": model.token_space.model, **nearness._asdict()}}


def frames_per_second(play: Callable[[], Iterable[Tensor]], frames: int) -> float:
    """Speed of `play`, which yields `frames` frames: that of the fastest of the passes that fit the time.

    The first frames choose kernels and start threads, and a shared machine has bad moments: one pass over a
    short video would measure those.
    """
    best, started = math.inf, time.perf_counter()
    while best == math.inf or time.perf_counter() - started < SECONDS_OF_TIMING:
        start = time.perf_counter()
        deque(play(), maxlen=0)
        best = min(best, time.perf_counter() - start)
    return frames / best


class Watched:
    """The decoded frames of a model, one after the other; measures each as it passes."""

    def __init__(self, model: VideoRepresentation, source: VideoSource) -> None:
        self.model, self.source = model, source
        self.quality: list[FrameQuality] = []

    def __iter__(self) -> Iterator[Tensor]:
        frames = self.model.render(range(self.source.frames))
        for index, frame in enumerate(tqdm(frames, "measure", self.source.frames, leave=False, unit="frame")):
            self.quality.append(compare(frame, self.source.read(index)))
            yield frame


def check_same_video(bitstream: str, source: VideoSource, video: VideoShape) -> None:
    """UserError if `source` cannot be what the file was made from: other frames, another size."""
    has = (source.frames, source.height, source.width)
    wants = (video.frames, video.height, video.width)
    if has != wants:
        raise UserError(
            f"bitstream={bitstream} holds {wants[0]} frames of {wants[2]}x{wants[1]}, the dataset {has[0]} of "
            f"{has[2]}x{has[1]}; add dataset.frames={wants[0]} dataset.height={wants[1]} dataset.width={wants[2]}"
        )


def _draw_comparison(
    model: VideoRepresentation, source: VideoSource, quality: list[FrameQuality], target: Path
) -> None:
    """The first frame, the middle one and the worst."""
    worst = max(range(len(quality)), key=lambda index: quality[index].mse)
    shown = sorted({0, len(quality) // 2, worst})
    rows = [
        Compared(index, source.read(index), frame, float(psnr(quality[index].mse, PEAK)))
        for index, frame in zip(shown, model.render(shown), strict=True)
    ]
    draw_comparison(rows, target)


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()}"
