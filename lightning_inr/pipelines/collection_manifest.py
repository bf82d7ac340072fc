"""The manifest of a collection, `collection.parquet`, from the records of its videos, means over them, and failures."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.paths import FAILED
from lightning_inr.pipelines.collection_worker import relative_to
from lightning_inr.retrieval.collection import MANIFEST, Record, open_original, write_manifest
from lightning_inr.storage import Folder, LocalFolder

READ_AT_ONCE = 16  # records, by threads: a store takes long to answer, and answers many at once
CHUNK = 1000  # records read before the first is used


class CollectionSummary:
    """Means over the videos of a collection; the videos themselves are not kept."""

    def __init__(self) -> None:
        self.videos, self.unconverged = 0, 0
        self.worst = float("inf")  # PSNR in dB
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, record: Record) -> None:
        """Count one more video."""
        self.videos += 1
        self.unconverged += record.unconverged is not None
        self.worst = min(self.worst, record.psnr)
        for name in ("psnr", "bpp", "fit_seconds", "seconds", "cos_seen", "cos_held_out"):
            value = getattr(record, name)
            if value is not None:
                self.sums[name] += value
                self.counts[name] += 1

    def mean(self, name: str) -> float:
        """Mean of a figure over the videos that have it."""
        return self.sums[name] / self.counts[name]

    def __str__(self) -> str:
        """The means, one per line."""
        rows = {
            "PSNR": f"{self.mean('psnr'):.2f} dB",
            "of the worst": f"{self.worst:.2f} dB",
            "rate": f"{self.mean('bpp'):.4f} bpp",
            "fit": f"{self.mean('fit_seconds'):.2f} s a video",
            "beyond the fit": f"{self.mean('seconds') - self.mean('fit_seconds'):.2f} s a video",
            **({"not converged": f"{self.unconverged} of {self.videos}"} if self.unconverged else {}),
            **({"cos to teacher": f"{self.mean('cos_seen'):.4f}"} if self.counts["cos_seen"] else {}),
            **({"between frames": f"{self.mean('cos_held_out'):.4f}"} if self.counts["cos_held_out"] else {}),
        }
        return "\n".join(f"  {name:<14}{value:>24}" for name, value in rows.items())


def write_collection(folder: Folder, videos: Sequence[CaptionedVideo]) -> CollectionSummary:
    """Write the manifest from the records of all workers; figures over them.

    Records of `videos` whose annotations have changed since, as captions were added, are written first.
    """
    annotated = {video.id: video for video in videos}
    while True:
        figures = CollectionSummary()
        records = _counted(_read_records(folder, annotated), figures)
        if isinstance(folder, LocalFolder):
            if first := next(records, None):
                write_manifest(folder.path, chain([first], records))
            return figures
        stamp = folder.stamp(MANIFEST)  # before the records are read: the last writer has read all of them
        with TemporaryDirectory() as scratch:
            write_manifest(Path(scratch), records)
            data = (Path(scratch) / MANIFEST).read_bytes()
        if not figures.videos:
            return figures
        if folder.create(MANIFEST, data) if stamp is None else folder.replace(MANIFEST, data, stamp):
            return figures


def write_failures(folder: Folder, failed: Mapping[str, str], videos: Sequence[CaptionedVideo]) -> None:
    """Write why videos failed here, beside the lines of other processes about `videos` that are still not finished."""
    known = {video.id for video in videos}
    while True:
        stamp = folder.stamp(FAILED)
        lines = [] if stamp is None else folder.read(FAILED).decode(errors="replace").splitlines()
        reasons = {name: reason for name, _, reason in (line.partition(": ") for line in lines)} | dict(failed)
        left = [name for name in sorted(known & set(reasons)) if folder.stamp(f"records/{name}.json") is None]
        data = "".join(f"{name}: {reasons[name]}\n" for name in left).encode()
        if folder.create(FAILED, data) if stamp is None else folder.replace(FAILED, data, stamp):
            return


def _counted(records: Iterator[Record], figures: CollectionSummary) -> Iterator[Record]:
    for record in records:
        figures.add(record)
        yield record


def _read_records(folder: Folder, annotated: Mapping[str, CaptionedVideo]) -> Iterator[Record]:
    """All records in order of their names, with the present annotations of the videos that are `annotated`."""
    names = (each.name for each in folder.names("records/") if each.name.endswith(".json"))
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        while chunk := list(islice(names, CHUNK)):
            for name, data in zip(chunk, pool.map(folder.read, chunk), strict=True):
                record = Record.read(json.loads(data))
                if record.id in annotated:
                    record = _with_annotations(folder, name, data, record, annotated[record.id])
                yield record


def _with_annotations(folder: Folder, name: str, data: bytes, record: Record, video: CaptionedVideo) -> Record:
    """The record with the annotations of `video`; it is written if they have changed."""
    starts_later = bool(video.segments) and bool(json.loads(record.source).get("first"))
    start_seconds = open_original(record).start_seconds if starts_later else 0.0
    segments = [relative_to(start_seconds, segment) for segment in video.segments]
    updated = record._replace(label=video.label, captions=video.captions, segments=segments)
    written = json.dumps(updated.values()).encode()
    if written != data:
        folder.write(name, written)
    return updated
