"""Fits every video of a captioned dataset: one `.linr` file each, and a manifest, for retrieval and chat.

    COLLECTION/<id>.linr  collection.parquet  config.yaml  missing.txt  failed.txt  records/<id>.json

The folder is on disk or behind a URL. A record is written after its file, so a video with a record is finished, and an
interrupted run resumes with the rest. Several processes may share a folder (`collection_lock`, `cluster.leases`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from lightning_inr.data.captioned.split import CaptionedVideo, DatasetSplit
from lightning_inr.data.sources.file import open_video
from lightning_inr.data.sources.remote import without_copies
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.paths import FAILED
from lightning_inr.pipelines.cluster.leases import Leases
from lightning_inr.pipelines.cluster.ray import RayExecutor
from lightning_inr.pipelines.cluster.schedule import Claim, Executor, Failure, InProcess, schedule
from lightning_inr.pipelines.cluster.shards import cut, take_shard
from lightning_inr.pipelines.collection_lock import CollectionLock
from lightning_inr.pipelines.collection_manifest import CollectionSummary, write_collection, write_failures
from lightning_inr.pipelines.collection_worker import (
    CollectionOptions,
    CollectionSetup,
    CollectionWorker,
    remove_scratch,
    scratch_of,
)
from lightning_inr.pipelines.evaluation import measuring_process
from lightning_inr.pipelines.fitting import Teachers
from lightning_inr.pipelines.packing import check_packable
from lightning_inr.pipelines.provenance import check_same_options, parse_options, to_yaml
from lightning_inr.pipelines.ranks import ranks_of
from lightning_inr.progress import ProgressBar
from lightning_inr.retrieval.collection import Record
from lightning_inr.retrieval.gallery import check_same_space, read_model
from lightning_inr.retrieval.query import open_collection
from lightning_inr.storage import Folder, LocalFolder, open_folder
from lightning_inr.teachers.clip import Clip
from lightning_inr.training.loggers import finish


def collect(options: CollectionOptions, address: str | Path) -> CollectionSummary:
    """Fit every video that is not in the folder at `address` yet; figures of all videos in it."""
    _check_one_device(options)
    folder = open_folder(address, "collection")
    split = options.read_split()
    if isinstance(folder, LocalFolder):
        split = _with_known_ids(split, folder.path / "records")
    _check_same_options(folder, options.settings)
    shard = take_shard(len(split.videos), options.shard)
    check_packable(options.fit, options.pack)
    teachers = options.load_teachers()
    if teachers.clip is not None:
        _check_teacher(folder, teachers.clip)
    # Before the first fit: a folder without write permission is an error here.
    folder.write("config.yaml", to_yaml(options.settings).encode())
    folder.write("missing.txt", "".join(f"{name}\n" for name in split.missing).encode())
    print(f"{split.name}: {len(split.videos)} videos, {len(split.missing)} more are missing on disk", flush=True)
    loggers = options.make_loggers(folder.path if isinstance(folder, LocalFolder) else scratch_of(folder))
    claims: CollectionLock | Leases
    claims = CollectionLock(folder.path) if isinstance(folder, LocalFolder) else Leases(folder)
    with ExitStack() as stack:
        stack.enter_context(claims)
        executor = stack.enter_context(_executor(options, folder, split.videos, teachers))
        ledger = CollectionLedger(split.videos, len(shard), folder, claims, loggers)
        try:
            with ledger.bar:
                units = cut(shard, options.pack, partial(_shape_of, options, split.videos))
                schedule(units, executor, ledger.claim, ledger.finish, options.attempts)
        finally:
            with claims.alone():
                figures = write_collection(folder, [split.videos[index] for index in shard])
                write_failures(folder, ledger.failed, split.videos)
                remove_scratch(folder)
    failed = ledger.failed
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}")
    finish(loggers)
    if not figures.videos:
        raise UserError(f"collection={address}: none of {len(shard)} videos could be fitted; see {address}/{FAILED}")
    # In a bucket, which several machines fill, by the one that completes the collection.
    if teachers.clip is not None and (isinstance(folder, LocalFolder) or figures.videos == len(split.videos)):
        open_collection(address)  # builds the index for the first search
    print(f"{figures.videos} of {len(split.videos)} videos in {address}, {len(failed)} failed\n{figures}")
    return figures


def _shape_of(options: CollectionOptions, videos: Sequence[CaptionedVideo], index: int) -> str:
    """The shape of a video, which those of a pack have in common; empty for one that cannot be read."""
    location = videos[index].location
    try:
        with without_copies([location]):
            return str(open_video(location, **options.clip_options).shape)
    except Exception:  # readers raise errors of many types; the worker names them
        return ""


@contextmanager
def _executor(
    options: CollectionOptions, folder: Folder, videos: Sequence[CaptionedVideo], teachers: Teachers
) -> Iterator[Executor]:
    """What fits the videos: this process, or a cluster."""
    if options.cluster is not None:
        address = str(folder.path.absolute()) if isinstance(folder, LocalFolder) else folder.address
        fit = replace(options.fit, threads=options.fit.threads or options.cluster.cpus)
        setup = CollectionSetup(fit, dict(options.clip_options), options.load_teachers, address)
        with RayExecutor(options.cluster, setup, videos, options.attempts) as cluster:
            yield cluster
        return
    with measuring_process() as measure:
        worker = CollectionWorker(options.fit, options.clip_options, folder, teachers, measure)
        yield InProcess(lambda unit: worker.fit_unit([videos[index] for index in unit]))


class CollectionLedger:
    """What becomes of each video: claims before its fit, its record after; the progress, and the failures."""

    def __init__(
        self,
        videos: Sequence[CaptionedVideo],
        total: int,
        folder: Folder,
        claims: CollectionLock | Leases,
        loggers: Sequence[Logger],
    ) -> None:
        self.videos, self.folder, self.claims, self.loggers = videos, folder, claims, loggers
        self.failed: dict[str, str] = {}
        self.fitted = CollectionSummary()
        self.bar = ProgressBar(total=total, desc="collect", unit="video", smoothing=0.1)

    def claim(self, index: int) -> Claim:
        """Ask for a video."""
        video = self.videos[index]
        answer = self.claims.claim(index, video)
        if answer in (Claim.DONE, Claim.HELD):
            self.failed.pop(video.id, None)  # fitted by another since
            self._show()
        return answer

    def finish(self, index: int, outcome: Record | Failure, is_last: bool) -> None:
        """Write the record of a video that was fitted, or remember why it was not; then give it back."""
        video = self.videos[index]
        if isinstance(outcome, Failure):
            self.failed[video.id] = outcome.reason
        else:
            self.folder.write(f"records/{video.id}.json", json.dumps(outcome.values()).encode())
            self.failed.pop(video.id, None)
            self.fitted.add(outcome)
            if outcome.unconverged is not None:
                ProgressBar.write(f"{video.id} not converged: {outcome.unconverged}")
        self.claims.release(index, video, is_done=not isinstance(outcome, Failure))
        if is_last:
            self._show()

    def _show(self) -> None:
        self.bar.update()
        if not self.fitted.videos:
            return
        means = {"psnr": self.fitted.mean("psnr"), "bpp": self.fitted.mean("bpp")}
        self.bar.set_postfix_str(f"PSNR {means['psnr']:.2f} dB, {means['bpp']:.3f} bpp")
        for logger in self.loggers:
            logger.log_metrics({f"collect/{name}": value for name, value in means.items()}, step=self.fitted.videos)


def _check_one_device(options: CollectionOptions) -> None:
    """UserError for a fit on several devices."""
    count = ranks_of(options.fit.trainer, choose_device(options.fit.device)).total
    if count > 1:
        raise UserError(
            f"trainer.devices={count // options.fit.trainer.get('num_nodes', 1)}: a collection fits each video on one "
            "device; start a process for each device, which share the folder, and choose trainer.devices=1"
        )


def _check_same_options(folder: Folder, settings: Mapping[str, Any]) -> None:
    """UserError if the collection was started with other options."""
    try:
        stored = parse_options(folder.read("config.yaml"), f"{folder.address}/config.yaml")
    except FileNotFoundError:
        return
    # The path of a teacher may change, its weights are compared later; captions of finished videos are updated.
    check_same_options(stored, settings, folder.address, may_differ=("teacher.weights", "dataset.listing.captions"))


def _with_known_ids(split: DatasetSplit, records: Path) -> DatasetSplit:
    """The split, in which a video that has a record under an id that is none of the split's keeps that id.

    Ids of dataset=folder had no suffix in earlier versions; their collections go on.
    """
    ids = {video.id for video in split.videos}
    found = (Record.read(json.loads(path.read_text())) for path in records.glob("*.json"))
    known = {json.loads(record.source)["path"]: record.id for record in found if record.id not in ids}
    videos = (video._replace(id=known.get(video.location, video.id)) for video in split.videos)
    return split._replace(videos=tuple(videos))


def _check_teacher(folder: Folder, teacher: Clip) -> None:
    """UserError if a file in `folder` was aligned to another teacher."""
    first = next((each.name for each in folder.names() if each.name.endswith(".linr")), None)
    space = None if first is None else read_model(f"{folder.address}/{first}").embedding_space
    if space is not None:
        check_same_space(teacher.embedding_space, space, "the teacher", f"collection {folder.address}")
