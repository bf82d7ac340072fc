"""Fits the videos of a collection in one process: each becomes a `.linr` file and a record."""

import errno
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lightning as L
import torch
from lightning.pytorch.loggers import Logger

from lightning_inr.data.captioned.split import CaptionedVideo, DatasetSplit, Segment
from lightning_inr.data.sources.file import open_video
from lightning_inr.data.sources.remote import without_copies
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import Terminated, UserError, printable
from lightning_inr.paths import HOST, cache_dir, write_bytes
from lightning_inr.pipelines.cluster.ray import RayOptions
from lightning_inr.pipelines.cluster.schedule import Failure
from lightning_inr.pipelines.evaluation import EvaluationRequest, measuring_process
from lightning_inr.pipelines.fitting import FitOptions, Fitted, Prepared, Teachers, encode_fit, prepare_fit, train
from lightning_inr.pipelines.packing import fit_pack, likeness
from lightning_inr.retrieval.collection import Record
from lightning_inr.storage import Folder, LocalFolder, open_folder

T = TypeVar("T")
_OPENED = ExitStack()  # in a worker of a cluster: its measuring process, until the worker ends
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
    cluster: RayOptions | None = None  # None: the videos are fitted in this process


class OpenVideo(NamedTuple):
    """A video that could be fitted now."""

    video: CaptionedVideo
    options: Mapping[str, Any]  # that open it
    source: VideoSource
    prepared: Prepared
    seconds: float  # that this took
    scratch: Path  # for its checkpoint and its draft


class CollectionWorker:
    """Fits videos in one process; teachers and the measuring process are started once."""

    def __init__(
        self,
        fit: FitOptions,
        clip_options: Mapping[str, Any],
        folder: Folder,
        teachers: Teachers,
        measure: Callable[[EvaluationRequest], dict[str, Any]],
    ) -> None:
        self.fit_options, self.clip_options, self.folder = fit, clip_options, folder
        self.teachers, self.measure = teachers, measure
        self.scratch = scratch_of(folder)

    def fit_unit(self, videos: Sequence[CaptionedVideo], copy: int = 0) -> list[Record | Failure]:
        """Fit the videos of a unit of work, those that are alike in one program, and write their files.

        A video is finished with its record, which the caller writes. `copy`: a number other than those of others that
        fit the same unit.
        """
        with without_copies([video.location for video in videos]):
            return self._fit_unit(videos, copy)

    def _fit_unit(self, videos: Sequence[CaptionedVideo], copy: int) -> list[Record | Failure]:
        opened = [_attempt(partial(self._open, video, copy)) for video in videos]
        outcomes: dict[int, Record | Failure] = {
            number: each for number, each in enumerate(opened) if isinstance(each, Failure)
        }
        packs: dict[str, dict[int, OpenVideo]] = {}
        for number, each in enumerate(opened):
            if isinstance(each, OpenVideo):
                packs.setdefault(likeness(each.prepared), {})[number] = each
        for pack in packs.values():
            outcomes |= zip(pack, self._fit(list(pack.values())), strict=True)
        return [outcomes[number] for number in range(len(videos))]

    def _open(self, video: CaptionedVideo, copy: int) -> OpenVideo:
        """Open a video and prepare its fit."""
        start = time.perf_counter()
        options = {"path": video.location, **self.clip_options}
        source = open_video(**options).trim_to_stride(self.fit_options.stride)
        # Per video, so that it does not depend on the videos before it.
        L.seed_everything(self.fit_options.seed, verbose=False)
        scratch = self.scratch / f"{video.id}.fit{copy or ''}"  # not the name of a record or a lock, for any id
        prepared = prepare_fit(self.fit_options, source, scratch, self.teachers)
        return OpenVideo(video, options, source, prepared, time.perf_counter() - start, scratch)

    def _fit(self, pack: Sequence[OpenVideo]) -> list[Record | Failure]:
        """Fit videos that are alike, and write their files."""
        start = time.perf_counter()
        encoders = _attempt(partial(self._train, pack))
        if isinstance(encoders, Failure):
            return [encoders] * len(pack)
        seconds = (time.perf_counter() - start) / len(pack)
        outcomes = [
            _attempt(partial(self._finish, opened, encode, opened.seconds + seconds))
            for opened, encode in zip(pack, encoders, strict=True)
        ]
        for opened in pack:  # when all are done: the first has the checkpoint of all
            shutil.rmtree(opened.scratch, ignore_errors=True)
        return outcomes

    def _train(self, pack: Sequence[OpenVideo]) -> Sequence[Callable[[], Fitted]]:
        """Train the networks of a pack, one alone by its own trainer, and return a function that encodes each."""
        first = pack[0]
        if len(pack) == 1:
            train(first.prepared, first.scratch)
            return [partial(encode_fit, first.prepared, self.fit_options)]
        L.seed_everything(self.fit_options.seed, verbose=False)  # others were prepared since the first
        names = [each.video.id for each in pack]
        return fit_pack(names, [each.prepared for each in pack], self.fit_options, first.scratch / "pack")

    def _finish(self, opened: OpenVideo, encode: Callable[[], Fitted], seconds: float) -> Record:
        """Encode a fit, measure it and write its file; `seconds` were spent before."""
        start = time.perf_counter()
        fitted = encode()
        draft = opened.scratch / "fitted.linr"
        write_bytes(draft, fitted.bitstream)
        open_source = partial(open_video, **opened.options)
        figures = self.measure(
            EvaluationRequest(str(draft), open_source, self.fit_options.device, timed=False, teacher=fitted.teacher)
        )
        path = f"{opened.video.id}.linr"
        self.folder.write(path, fitted.bitstream)
        seconds += time.perf_counter() - start
        figures |= {"fit_seconds": fitted.figures["fit_seconds"], "seconds": seconds}
        entry = self._describe(opened.video, opened.source, path, opened.options, figures)
        return entry._replace(unconverged=fitted.figures.get("unconverged"))

    def _describe(
        self, video: CaptionedVideo, source: VideoSource, path: str, options: Mapping[str, Any], figures: dict[str, Any]
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
            segments=[relative_to(source.start_seconds, segment) for segment in video.segments],
            teacher=alignment.get("teacher"),
            cos_seen=alignment.get("cos_seen"),
            cos_held_out=alignment.get("cos_held_out"),
        )


@dataclass(frozen=True)
class CollectionSetup:
    """What the workers of a cluster are made from; see `WorkerSetup`."""

    fit: FitOptions
    clip_options: Mapping[str, Any]
    load_teachers: Callable[[], Teachers]
    address: str  # of the collection

    def open(self) -> CollectionWorker:
        """The worker of this process; its measuring process ends with it."""
        folder = open_folder(self.address, "collection")
        if folder.stamp("config.yaml") is None:
            raise UserError(
                f"collection={self.address}: {HOST} does not see it; name a folder that all machines share, or a bucket"
            )
        torch.set_num_threads(self.fit.threads or 1)
        measure = _OPENED.enter_context(measuring_process())
        return CollectionWorker(self.fit, self.clip_options, folder, self.load_teachers(), measure)


def _attempt(call: Callable[[], T]) -> T | Failure:
    """The result of `call`, or why it failed; errors that would affect all other videos are raised."""
    try:
        return call()
    except (KeyboardInterrupt, Terminated) as stop:
        raise type(stop)("the same command resumes with this video") from stop
    except Exception as error:  # readers raise errors of many types for damaged videos
        if _disk_is_full(error):
            raise
        return Failure(printable(str(error).splitlines()[0] if str(error) else repr(error)))


def scratch_of(folder: Folder) -> Path:
    """Where this machine keeps checkpoints of fits in work: in the collection, or for a URL in the user's cache."""
    if isinstance(folder, LocalFolder):
        return folder.path / "records"
    return cache_dir() / "collections" / sha256(folder.address.encode()).hexdigest()[:16]


def remove_scratch(folder: Folder) -> None:
    """Remove what is left of fits whose videos are finished: of the slower of two, or of one whose worker died."""
    for path in scratch_of(folder).glob("*.fit*"):
        found = re.fullmatch(r"(.+)\.fit\d*", path.name)
        if found and path.is_dir() and folder.stamp(f"records/{found[1]}.json") is not None:
            shutil.rmtree(path, ignore_errors=True)


def relative_to(start_seconds: float, segment: Segment) -> Segment:
    """A segment in seconds of a file that begins at `start_seconds` of its video."""
    return Segment(segment.start - start_seconds, segment.end - start_seconds, segment.label)


def _disk_is_full(error: Exception) -> bool:
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in DISK_FULL_ERRORS
