"""A long video as one file: its segments are fitted one after the other, and each is kept as soon as it is done."""

import gc
import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from lightning_inr.codec import check_cost, join_files
from lightning_inr.codec.segment_table import MOST_SEGMENTS
from lightning_inr.data.shots import find_shots
from lightning_inr.data.sources.source import TransformedSource, VideoSource
from lightning_inr.errors import Terminated, UserError
from lightning_inr.models import build_on_meta
from lightning_inr.paths import write_bytes, write_text, writing
from lightning_inr.pipelines.fitting import FitOptions, Teachers, fit_video, prepare_fit
from lightning_inr.progress import ProgressBar
from lightning_inr.ranges import FileRanges
from lightning_inr.training.callbacks.history import Moment

SEGMENTS = "segments"  # subfolder of a run folder
PLAN = "plan.json"  # in it: the number of the first frame of each segment


class FittedSegments(NamedTuple):
    """What the fits of all segments leave beside the file that is written."""

    teacher: NDArray[np.float32] | None  # (frames, S): the teacher's embeddings of all frames
    moments: Sequence[Moment]
    figures: Mapping[str, Any]  # named as in result.json
    tokens: None = None  # segments have no projector


class FittedSegment(NamedTuple):
    """A segment that is done, as its record in the folder of segments holds it."""

    frames: int
    bytes: int
    moments: Sequence[Moment]
    figures: Mapping[str, Any]


def check_segments(options: FitOptions, source: VideoSource, segment_frames: int) -> None:
    """UserError for options that no segment could be fitted with, before the video is read."""
    if not isinstance(segment_frames, int) or isinstance(segment_frames, bool) or segment_frames < 1:
        raise UserError(f"segment_frames={segment_frames}: choose a whole number from 1, or null for one network")
    if options.stride != 1:
        raise UserError(f"segment_frames={segment_frames} stride={options.stride}: segments need stride=1")
    if -(-source.frames // segment_frames) > MOST_SEGMENTS:
        raise UserError(
            f"segment_frames={segment_frames}: {source.frames} frames would be more than {MOST_SEGMENTS} segments; "
            f"choose {-(-source.frames // MOST_SEGMENTS)} or more"
        )
    if options.model_options.get("shots"):
        raise UserError("model.shots: segments are cut at shots that are detected; leave model.shots=null")
    options.make_callbacks()
    shape = source.shape._replace(frames=min(segment_frames, source.frames))
    check_cost(build_on_meta(options.model, shape, **options.model_options))


def plan_segments(shots: Sequence[int], frames: int, most: int) -> list[range]:
    """The frames of each segment, `most` at most; a segment ends with a shot where one ends in its second half.

    Where none does, what is left is divided evenly, so that no segment is much shorter than the others.
    """
    starts = [0]
    while (left := frames - starts[-1]) > most:
        first = starts[-1]
        ends = [shot for shot in shots if first + most // 2 < shot <= first + most]
        starts.append(ends[-1] if ends else first + -(-left // -(-left // most)))
    return [range(*pair) for pair in pairwise([*starts, frames])]


def fit_segments(
    options: FitOptions,
    source: VideoSource,
    segment_frames: int,
    folder: Path,
    teachers: Teachers,
    loggers: Sequence[Logger] = (),
) -> FittedSegments:
    """Fit every segment of `source` that `folder` does not hold yet, and write `video.linr` there.

    The budget of `options` is that of each segment. Memory does not depend on the length of the video: frames of one
    segment are in memory, and the file is joined from those of the segments.
    """
    store = folder / SEGMENTS
    plan = _read_or_make_plan(store, source, segment_frames)
    done = sum(_file(store, number).exists() for number in range(len(plan)))
    fitted: list[FittedSegment] = []
    with ProgressBar(total=len(plan), initial=done, desc="segments", unit="segment") as bar:
        for number, frames in enumerate(plan):
            is_new = not _file(store, number).exists()
            if is_new:
                _fit_segment(options, source, frames, store, number, teachers)
            fitted.append(_read_record(store, number, len(frames)))
            so_far = _quality_so_far(fitted, source)
            bar.show(f"PSNR {so_far['psnr']:.2f} dB  {so_far['bpp']:.3f} bpp", **so_far)
            bar.update(is_new)
            for logger in loggers:
                logger.log_metrics({f"segments/{name}": value for name, value in so_far.items()}, step=number)
    with writing(folder / "video.linr") as draft, draft.open("wb") as file:
        file.writelines(join_files(lambda: (FileRanges(_file(store, number)) for number in range(len(plan)))))
    embeddings = [np.load(_file(store, number, ".npy")) for number in range(len(plan))] if teachers.clip else None
    teacher = None if embeddings is None else np.concatenate(embeddings)
    return FittedSegments(teacher, _moments_in_sequence(fitted), _figures_of_all(fitted))


def forget_segments(folder: Path) -> None:
    """Remove the segments of a fit that is done."""
    shutil.rmtree(folder / SEGMENTS, ignore_errors=True)


def _read_or_make_plan(store: Path, source: VideoSource, segment_frames: int) -> list[range]:
    if not (store / PLAN).exists():
        numbers = ProgressBar(range(source.frames), "shots", leave=False, unit="frame")
        plan = plan_segments(find_shots(map(source.read, numbers)), source.frames, segment_frames)
        if len(plan) > MOST_SEGMENTS:
            raise UserError(f"segment_frames={segment_frames}: {len(plan)} segments; choose more frames")
        write_text(store / PLAN, json.dumps([frames.start for frames in plan]))
    starts = json.loads((store / PLAN).read_text())
    return [range(*pair) for pair in pairwise([*starts, source.frames])]


def _fit_segment(
    options: FitOptions,
    source: VideoSource,
    frames: range,
    store: Path,
    number: int,
    teachers: Teachers,
) -> None:
    """Fit these frames, from the segment's checkpoint if there is one, and write its file, which is complete then."""
    L.seed_everything(options.seed, verbose=False)  # a resumed fit gives the same file
    work = _file(store, number, "")
    try:
        prepared = prepare_fit(options, TransformedSource(source, frames.start, len(frames)), work, teachers)
        fitted = fit_video(prepared, options, work)
    except (KeyboardInterrupt, Terminated) as stop:
        raise type(stop)(f"the same command with run_dir={store.parent} goes on from there") from stop
    del prepared
    if fitted.teacher is not None:
        with writing(_file(store, number, ".npy")) as draft:
            np.save(draft, fitted.teacher)
    record = {"moments": fitted.moments, "figures": fitted.figures}
    write_text(_file(store, number, ".json"), json.dumps(record))
    write_bytes(_file(store, number), fitted.bitstream)  # last: a segment with this file is done
    shutil.rmtree(work, ignore_errors=True)
    gc.collect()  # a trainer holds its frames in a cycle of references


def _file(store: Path, number: int, suffix: str = ".linr") -> Path:
    return store / f"{number:05d}{suffix}"


def _read_record(store: Path, number: int, frames: int) -> FittedSegment:
    record = json.loads(_file(store, number, ".json").read_text())
    moments = [Moment(*each) for each in record["moments"]]
    return FittedSegment(frames, _file(store, number).stat().st_size, moments, record["figures"])


def _quality_so_far(fitted: Sequence[FittedSegment], source: VideoSource) -> dict[str, float]:
    """PSNR (dB, of the last training batches) and bits per pixel of the segments that are done."""
    frames = sum(each.frames for each in fitted)
    psnr = sum(each.frames * each.moments[-1].psnr for each in fitted) / frames
    return {"psnr": psnr, "bpp": 8 * sum(each.bytes for each in fitted) / (frames * source.height * source.width)}


def _moments_in_sequence(fitted: Sequence[FittedSegment]) -> list[Moment]:
    """The training curves of the segments, one after the other."""
    moments: list[Moment] = []
    seconds = 0.0
    for segment in fitted:
        moments += [each._replace(seconds=seconds + each.seconds) for each in segment.moments]
        seconds += segment.figures["fit_seconds"]
    return moments


def _figures_of_all(fitted: Sequence[FittedSegment]) -> dict[str, Any]:
    """The figures of the whole fit: sums of what was spent, means over frames of what was estimated."""
    figures: dict[str, Any] = {"segments": len(fitted)}
    frames = [each.frames for each in fitted]
    for name in fitted[0].figures:
        values: list[Any] = [each.figures.get(name) for each in fitted]
        if name in ("fit_seconds", "encode_seconds", "steps"):
            figures[name] = sum(values)
        elif name == "epochs":
            figures[name] = fmean(values, frames)
        elif name == "threads":
            figures[name] = max(values)
        elif name == "converged":
            figures[name] = all(values)
        elif name == "collapsed":
            figures[name] = any(values)
        elif name.startswith("estimated_") or name == "psnr_unquantised":
            figures[name] = fmean(values, frames)
    lacking = [number for number, each in enumerate(fitted) if not each.figures["converged"]]
    if lacking:
        reason = fitted[lacking[0]].figures["unconverged"]
        figures["unconverged"] = f"{len(lacking)} of {len(fitted)} segments, the first {lacking[0]}: {reason}"
    return figures
