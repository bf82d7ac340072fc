"""Fits every video of a captioned dataset: one `.linr` file each, and a manifest, for retrieval and chat.

    COLLECTION/<id>.linr  collection.parquet  config.yaml  missing.txt  failed.txt  records/<id>.json

A record is written after its file, so a video with a record is finished, and an interrupted run resumes with the rest.
Several workers may share a folder (`collection_lock`).
"""

import errno
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import lightning as L
from lightning.pytorch.loggers import Logger

from lightning_inr.data.captioned.split import CaptionedVideo, DatasetSplit, Segment
from lightning_inr.data.sources.file import open_video
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import Terminated, UserError, printable
from lightning_inr.paths import FAILED, write_bytes, write_text
from lightning_inr.pipelines.collection_lock import CollectionLock
from lightning_inr.pipelines.evaluation import EvaluationRequest, measuring_process
from lightning_inr.pipelines.fitting import FitOptions, Fitted, Prepared, Teachers, fit_video, prepare_fit
from lightning_inr.pipelines.packing import PackQueue, check_packable, fit_pack, likeness
from lightning_inr.pipelines.provenance import check_same_fit, to_yaml
from lightning_inr.progress import ProgressBar
from lightning_inr.retrieval.collection import Record, open_original
from lightning_inr.retrieval.gallery import check_same_space, read_model
from lightning_inr.retrieval.query import open_collection
from lightning_inr.teachers.clip import Clip
from lightning_inr.training.loggers import finish

T = TypeVar("T")
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
MEASURED_FIELDS = ("frames", "height", "width", "fps", "bytes", "bpp", "psnr", "ms_ssim", "fit_seconds", "seconds")


@dataclass(frozen=True)
class CollectionOptions:
    """Options of a collection: its videos, and the fit of each."""

    fit: FitOptions
    read_split: Callable[[], DatasetSplit]
    clip_options: Mapping[str, Any]  # the part of each video, and its size
    load_teachers: Callable[[], Teachers]
    make_loggers: Callable[[Path], list[Logger]]
    settings: Mapping[str, Any]  # the whole configuration; a folder that was started with another is refused
    shard: str = "1/1"  # PART/PARTS of the videos
    attempts: int = 2  # for a video that fails
    pack: int = 1  # videos that are fitted in one program


def collect(options: CollectionOptions, folder: Path) -> list[Record]:
    """Fit every video that is not in `folder` yet, and return the records of all videos in it."""
    split = _with_known_ids(options.read_split(), folder / "records")
    # The path of a teacher may change, its weights are compared below; captions of finished videos are updated.
    check_same_fit(folder, options.settings, may_differ=("teacher.weights", "dataset.listing.captions"))
    shard = take_shard(split.videos, options.shard)
    check_packable(options.fit, options.pack)
    teachers = options.load_teachers()
    if teachers.clip is not None:
        _check_teacher(folder, teachers.clip)
    write_text(folder / "config.yaml", to_yaml(options.settings))
    write_text(folder / "missing.txt", "".join(f"{name}\n" for name in split.missing))
    print(f"{split.name}: {len(split.videos)} videos, {len(split.missing)} more are missing on disk", flush=True)
    loggers = options.make_loggers(folder)
    with measuring_process() as measure, CollectionLock(folder) as shared:
        worker = CollectionWorker(options, folder, teachers, measure)
        try:
            failed = worker.collect(split.videos, shard, shared, loggers)
        finally:
            records = shared.write_manifest()
    write_text(folder / FAILED, "".join(f"{name}: {reason}\n" for name, reason in failed.items()))
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}")
    finish(loggers)
    if not records:
        raise UserError(f"collection={folder}: none of {len(shard)} videos could be fitted; see {folder / FAILED}")
    if teachers.clip is not None:
        open_collection(folder)  # builds the index for the first search
    print(f"{len(records)} of {len(split.videos)} videos in {folder}, {len(failed)} failed\n{summary(records)}")
    return records


def _with_known_ids(split: DatasetSplit, records: Path) -> DatasetSplit:
    """The split, in which a video that has a record under an id that is none of the split's keeps that id.

    Ids of dataset=folder had no suffix in earlier versions; their collections go on.
    """
    ids = {video.id for video in split.videos}
    found = (Record.read(json.loads(path.read_text())) for path in records.glob("*.json"))
    known = {json.loads(record.source)["path"]: record.id for record in found if record.id not in ids}
    videos = (video._replace(id=known.get(str(video.path.resolve()), video.id)) for video in split.videos)
    return split._replace(videos=tuple(videos))


def _check_teacher(folder: Path, teacher: Clip) -> None:
    """UserError if a file in `folder` was aligned to another teacher."""
    for path in sorted(folder.glob("*.linr"))[:1]:
        space = read_model(path).embedding_space
        if space is not None:
            check_same_space(teacher.embedding_space, space, "the teacher", f"collection {folder}")


def take_shard(videos: Sequence[CaptionedVideo], shard: str) -> range:
    """`3/16` -> the indices of the third, the nineteenth … video."""
    match = re.fullmatch(r"(\d+)/(\d+)", str(shard))
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard={shard}: give PART/PARTS, as in shard=3/16")
    return range(int(match[1]) - 1, len(videos), int(match[2]))


def summary(records: Sequence[Record]) -> str:
    """Means over a collection, one per line."""
    cosines = [record.cos_seen for record in records if record.cos_seen is not None]
    unconverged = sum(record.unconverged is not None for record in records)
    held_out = [record.cos_held_out for record in records if record.cos_held_out is not None]
    rows = {
        "PSNR": f"{fmean(record.psnr for record in records):.2f} dB",
        "of the worst": f"{min(record.psnr for record in records):.2f} dB",
        "rate": f"{fmean(record.bpp for record in records):.4f} bpp",
        "fit": f"{fmean(record.fit_seconds for record in records):.2f} s a video",
        "beyond the fit": f"{fmean(record.seconds - record.fit_seconds for record in records):.2f} s a video",
        **({"not converged": f"{unconverged} of {len(records)}"} if unconverged else {}),
        **({"cos to teacher": f"{fmean(cosines):.4f}"} if cosines else {}),
        **({"between frames": f"{fmean(held_out):.4f}"} if held_out else {}),
    }
    return "\n".join(f"  {name:<14}{value:>24}" for name, value in rows.items())


class OpenVideo(NamedTuple):
    """A video that could be fitted now."""

    number: int  # its index among the videos
    video: CaptionedVideo
    source: VideoSource
    prepared: Prepared
    seconds: float  # that it took
    claim: ExitStack  # of the video, to be closed when it is done


class CollectionWorker:
    """Fits one video after the other in one process; teachers and the measuring process are started once."""

    def __init__(
        self,
        options: CollectionOptions,
        folder: Path,
        teachers: Teachers,
        measure: Callable[[EvaluationRequest], dict[str, Any]],
    ) -> None:
        self.options, self.folder, self.teachers, self.measure = options, folder, teachers, measure

    def collect(
        self, videos: Sequence[CaptionedVideo], shard: range, shared: CollectionLock, loggers: Sequence[Logger]
    ) -> Mapping[str, str]:
        """Fit the videos that are not finished; id -> reason for those that failed at every attempt."""
        failed: dict[str, str] = {}
        remaining = list(shard)
        done: list[Record] = []
        with ProgressBar(total=len(shard), desc="collect", unit="video", smoothing=0.1) as bar:
            for attempt in range(self.options.attempts):
                is_last = attempt + 1 == self.options.attempts
                size = 1 if attempt else self.options.pack  # what fails in a pack may be fitted alone
                for index in self._attempt(videos, remaining.copy(), size, shared, done, failed):
                    if videos[index].id not in failed:
                        remaining.remove(index)
                    if is_last or videos[index].id not in failed:
                        self._show(bar, done, loggers)
        return failed

    def _attempt(
        self,
        videos: Sequence[CaptionedVideo],
        indices: Iterable[int],
        size: int,
        shared: CollectionLock,
        done: list[Record],
        failed: dict[str, str],
    ) -> Iterator[int]:
        """Fit the unfinished of the videos `indices`, in packs of up to `size` like ones; yields what is settled."""
        waiting = PackQueue[OpenVideo](size, lambda each: likeness(each.prepared))
        try:
            for index in indices:
                video = videos[index]
                failed.pop(video.id, None)
                with ExitStack() as claim:
                    claimed = claim.enter_context(shared.claim(index))
                    if claimed and not shared.done(video):
                        opened = self._try(partial(self._open, index, video), [video.id], failed)
                        if opened is not None:
                            if pack := waiting.add(opened._replace(claim=claim.pop_all())):
                                yield from self._fit(pack, shared, done, failed)
                            continue
                    elif claimed:
                        _update_annotations(video, shared.record(video))
                yield index
            for pack in waiting.rest():
                yield from self._fit(pack, shared, done, failed)
        finally:  # after an interruption
            for pack in waiting.rest():
                _release(pack)

    def _fit(
        self, pack: Sequence[OpenVideo], shared: CollectionLock, done: list[Record], failed: dict[str, str]
    ) -> Iterator[int]:
        """Fit a pack of like videos, and write the file and the record of each; yields their indices."""
        start = time.perf_counter()
        try:
            encoders = self._try(partial(self._run, pack), [each.video.id for each in pack], failed)
            seconds = (time.perf_counter() - start) / len(pack)
            for number, opened in enumerate(pack):
                if encoders is not None:
                    spent, record = opened.seconds + seconds, shared.record(opened.video)
                    written = self._try(
                        partial(self._finish, opened, encoders[number], spent, record), [opened.video.id], failed
                    )
                    done += [] if written is None else [written]
                opened.claim.close()
                yield opened.number
        finally:
            _release(pack)

    def _try(self, call: Callable[[], T], ids: Sequence[str], failed: dict[str, str]) -> T | None:
        """The result of `call`; None if it failed for the videos `ids`. Errors that affect all others are raised."""
        try:
            return call()
        except (KeyboardInterrupt, Terminated) as stop:
            raise type(stop)("the same command resumes with this video") from stop
        except Exception as error:  # readers raise errors of many types for damaged videos
            if _disk_is_full(error):
                raise
            failed |= dict.fromkeys(ids, printable(str(error).splitlines()[0] if str(error) else repr(error)))
            return None

    def _open(self, index: int, video: CaptionedVideo) -> OpenVideo:
        """Open a video and prepare its fit."""
        start = time.perf_counter()
        source = open_video(**self._clip(video)).trim_to_stride(self.options.fit.stride)
        L.seed_everything(
            self.options.fit.seed, verbose=False
        )  # per video, so that it does not depend on the videos before it
        prepared = prepare_fit(self.options.fit, source, self._scratch(video, "fit"), self.teachers)
        return OpenVideo(index, video, source, prepared, time.perf_counter() - start, ExitStack())

    def _run(self, pack: Sequence[OpenVideo]) -> Sequence[Callable[[], Fitted]]:
        """Fit the videos of a pack, and return functions that encode them; one alone is fitted by its function."""
        first, fit = pack[0], self.options.fit
        if self.options.pack > 1:
            L.seed_everything(fit.seed, verbose=False)  # others have been prepared since
        if len(pack) == 1:
            return [partial(fit_video, first.prepared, fit, self._scratch(first.video, "fit"))]
        names = [each.video.id for each in pack]
        return fit_pack(names, [each.prepared for each in pack], fit, self._scratch(first.video, "pack"))

    def _finish(self, opened: OpenVideo, encode: Callable[[], Fitted], seconds: float, record: Path) -> Record:
        """Write the file of a fit, measure it, and write its record; `seconds` were spent before."""
        start, video, options = time.perf_counter(), opened.video, self._clip(opened.video)
        fitted = encode()
        unconverged = fitted.figures.get("unconverged")
        if unconverged is not None:
            ProgressBar.write(f"{video.id} not converged: {unconverged}")
        path = self.folder / f"{video.id}.linr"
        write_bytes(path, fitted.bitstream)
        request = EvaluationRequest(
            str(path), partial(open_video, **options), self.options.fit.device, timed=False, teacher=fitted.teacher
        )
        figures = self.measure(request)
        for kind in ("fit", "pack"):  # with the checkpoint, if there is one
            shutil.rmtree(self._scratch(video, kind), ignore_errors=True)
        seconds += time.perf_counter() - start
        figures |= {"fit_seconds": fitted.figures["fit_seconds"], "seconds": seconds}
        entry = self._describe(video, opened.source, path.name, options, figures)._replace(unconverged=unconverged)
        write_text(record, json.dumps(entry.values()))
        return entry

    def _clip(self, video: CaptionedVideo) -> dict[str, Any]:
        """The options that open a video."""
        return {"path": str(video.path.resolve()), **self.options.clip_options}

    def _scratch(self, video: CaptionedVideo, kind: str) -> Path:
        """The folder of a fit, or of the pack that `video` is the first of."""
        return self.folder / "records" / f"{video.id}.{kind}"  # not the name of a record or a lock, for any id

    def _describe(
        self, video: CaptionedVideo, source: VideoSource, path: str, options: dict[str, Any], figures: dict[str, Any]
    ) -> Record:
        """The record of a video that was fitted and measured."""
        alignment = figures.get("alignment", {})
        return Record(
            **{name: figures[name] for name in MEASURED_FIELDS},
            id=video.id,
            path=path,
            source=json.dumps(options),
            label=video.label,
            captions=video.captions,
            segments=[_relative_to(source.start_seconds, segment) for segment in video.segments],
            teacher=alignment.get("teacher"),
            cos_seen=alignment.get("cos_seen"),
            cos_held_out=alignment.get("cos_held_out"),
        )

    def _show(self, bar: ProgressBar, done: Sequence[Record], loggers: Sequence[Logger]) -> None:
        bar.update()
        if not done:
            return
        means = {"psnr": fmean(each.psnr for each in done), "bpp": fmean(each.bpp for each in done)}
        bar.set_postfix_str(f"PSNR {means['psnr']:.2f} dB, {means['bpp']:.3f} bpp")
        for logger in loggers:
            logger.log_metrics({f"collect/{name}": value for name, value in means.items()}, step=len(done))


def _release(pack: Sequence[OpenVideo]) -> None:
    """Release the claims of videos that are not released yet."""
    for each in pack:
        each.claim.close()


def _update_annotations(video: CaptionedVideo, record: Path) -> None:
    """Write the annotations of a finished video to its record if they have changed since, as captions were added."""
    text = record.read_text()
    entry = Record.read(json.loads(text))
    starts_later = bool(video.segments) and bool(json.loads(entry.source).get("first"))
    start_seconds = open_original(entry).start_seconds if starts_later else 0.0
    segments = [_relative_to(start_seconds, segment) for segment in video.segments]
    updated = json.dumps(entry._replace(label=video.label, captions=video.captions, segments=segments).values())
    if updated != text:
        write_text(record, updated)


def _relative_to(start_seconds: float, segment: Segment) -> Segment:
    return Segment(segment.start - start_seconds, segment.end - start_seconds, segment.label)


def _disk_is_full(error: Exception) -> bool:
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in DISK_FULL_ERRORS
