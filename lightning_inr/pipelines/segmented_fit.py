"""A long video as one file: its segments are fitted in turn or on a cluster, and each is kept once it is done."""

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from lightning_inr.codec import check_cost, join_files
from lightning_inr.codec.segment_table import MOST_SEGMENTS
from lightning_inr.data.shots import find_shots
from lightning_inr.data.sources.source import OpenSource, VideoSource
from lightning_inr.errors import Terminated, UserError
from lightning_inr.models import build_on_meta
from lightning_inr.paths import write_text, writing
from lightning_inr.pipelines.cluster.ray import RayExecutor, RayOptions
from lightning_inr.pipelines.cluster.schedule import Claim, Failure, schedule
from lightning_inr.pipelines.fitting import FitOptions, Teachers
from lightning_inr.pipelines.segment_worker import SegmentSetup, SegmentWorker, segment_file
from lightning_inr.progress import ProgressBar
from lightning_inr.ranges import FileRanges
from lightning_inr.training.callbacks.history import Moment

SEGMENTS = "segments"  # subfolder of a run folder
ATTEMPTS = 2  # for a segment that fails on a cluster
PLAN = "plan.json"  # in it: the number of the first frame of each segment


class SegmentCluster(NamedTuple):
    """A Ray cluster that fits segments, and what its workers read."""

    ray: RayOptions
    open_source: OpenSource
    load_teachers: Callable[[], Teachers]


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
    cluster: SegmentCluster | None = None,
) -> FittedSegments:
    """Fit every segment of `source` that `folder` does not hold yet, and write `video.linr` there.

    The budget of `options` is that of each segment. Memory does not depend on the length of the video: frames of one
    segment are in memory, and the file is joined from those of the segments.
    """
    store = folder / SEGMENTS
    plan = _read_or_make_plan(store, source, segment_frames)
    numbers = range(len(plan))
    done = [number for number in numbers if segment_file(store, number).exists()]
    missing = sorted(set(numbers) - set(done))
    fitted = {number: _read_record(store, number, plan[number]) for number in done}
    with ProgressBar(total=len(plan), initial=len(fitted), desc="segments", unit="segment") as bar:

        def finish(number: int) -> None:
            fitted[number] = _read_record(store, number, plan[number])
            so_far = _quality_so_far(fitted.values(), source)
            bar.show(f"PSNR {so_far['psnr']:.2f} dB  {so_far['bpp']:.3f} bpp", **so_far)
            bar.update()
            for logger in loggers:
                logger.log_metrics({f"segments/{name}": value for name, value in so_far.items()}, step=len(fitted) - 1)

        try:
            if cluster is not None:
                _fit_on_cluster(cluster, options, plan, store, missing, finish)
            else:
                worker = SegmentWorker(options, source, plan, store, teachers)
                for number in missing:
                    worker.fit(number)
                    finish(number)
        except (KeyboardInterrupt, Terminated) as stop:
            raise type(stop)(f"the same command with run_dir={folder} goes on from there") from stop
    with writing(folder / "video.linr") as draft, draft.open("wb") as file:
        file.writelines(join_files(lambda: (FileRanges(segment_file(store, number)) for number in numbers)))
    embeddings = [np.load(segment_file(store, number, ".npy")) for number in numbers] if teachers.clip else None
    teacher = None if embeddings is None else np.concatenate(embeddings)
    in_order = [fitted[number] for number in numbers]
    return FittedSegments(teacher, _moments_in_sequence(in_order), _figures_of_all(in_order))


def _fit_on_cluster(
    cluster: SegmentCluster,
    options: FitOptions,
    plan: Sequence[range],
    store: Path,
    missing: Sequence[int],
    finish: Callable[[int], None],
) -> None:
    """Fit the segments that are missing on a Ray cluster; UserError if one fails at each attempt."""
    failed: dict[int, str] = {}

    def settle(number: int, outcome: int | Failure, is_last: bool) -> None:
        if isinstance(outcome, Failure):
            failed[number] = outcome.reason
        else:
            failed.pop(number, None)
            finish(number)

    fit = replace(options, threads=options.threads or cluster.ray.cpus)
    setup = SegmentSetup(fit, cluster.open_source, plan, store.absolute(), cluster.load_teachers)
    with RayExecutor(cluster.ray, setup, range(len(plan)), ATTEMPTS) as executor:
        schedule(((number,) for number in missing), executor, lambda _: Claim.TAKEN, settle, ATTEMPTS)
    if failed:
        number, reason = min(failed.items())
        raise UserError(f"{len(failed)} of {len(plan)} segments failed, the first {number}: {reason}; run it again")


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


def _read_record(store: Path, number: int, frames: range) -> FittedSegment:
    record = json.loads(segment_file(store, number, ".json").read_text())
    moments = [Moment(*each) for each in record["moments"]]
    return FittedSegment(len(frames), segment_file(store, number).stat().st_size, moments, record["figures"])


def _quality_so_far(fitted: Collection[FittedSegment], source: VideoSource) -> dict[str, float]:
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
