"""Frame embeddings of a large collection in shards: files of a bounded number of frames, written in parallel.

A shard is described once it is complete, so an interrupted build continues with the shards that are missing. Its name
is a hash of the files in it, so processes that build the same shard write the same file.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from lightning_inr.codec.limits import Limits, current_limits, use_limits
from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.processes import process_pool, starting_processes
from lightning_inr.progress import ProgressBar
from lightning_inr.retrieval.collection import Record
from lightning_inr.retrieval.gallery import UNALIGNED, embed_videos, unaligned_error
from lightning_inr.retrieval.indexed_files import IndexedFile, Stamp
from lightning_inr.types import EmbeddingSpace

SHARD_FRAMES = 2**17  # frames at most, unless one file has more: 256 MiB of 512 float32 numbers each
ROW_BITS = 24  # of a key, for the place in its shard
MOST_PARTIAL = 8  # shards less than half full, beyond which they are joined

Task = TypeVar("Task")
Result = TypeVar("Result")


class Shard(NamedTuple):
    """Files whose frames are the rows of one shard, in this order."""

    name: str
    space: EmbeddingSpace
    files: tuple[IndexedFile, ...]
    crc: int  # CRC-32 of the rows, as written

    @property
    def frames(self) -> int:
        """Number of rows."""
        return sum(each.frames for each in self.files)

    def to_json(self) -> bytes:
        """The description that `from_json` reads."""
        return json.dumps(self._asdict()).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """ValueError, KeyError or TypeError for other data."""
        values = json.loads(data)
        files = tuple(IndexedFile(*each) for each in values["files"])
        if any(type(each.frames) is not int or each.frames < 0 for each in files):
            raise ValueError("not a number of frames")
        return cls(str(values["name"]), EmbeddingSpace(*values["space"]), files, int(values["crc"]))


class RowKeys:
    """A key for each row of an index that stays when other shards are added: a part of its shard's name, and its place.

    Rows are numbered over all shards, in the order of their names, as their keys are.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        filled = [shard for shard in shards if shard.frames]
        self.keys = np.array([first_key(shard) for shard in filled], np.int64)
        self.first = np.concatenate([[0], np.cumsum([shard.frames for shard in filled], dtype=np.int64)])

    def __len__(self) -> int:
        return int(self.first[-1])

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each key; -1 for a key of no row."""
        shards = np.searchsorted(self.keys, keys, side="right") - 1
        places = keys - self.keys[shards]
        known = (shards >= 0) & (places < np.diff(self.first)[shards])
        return np.where(known, self.first[shards] + places, -1)

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The key of each row."""
        shards = np.searchsorted(self.first, rows, side="right") - 1
        keys: NDArray[np.int64] = self.keys[shards] + rows - self.first[shards]
        return keys


def first_key(shard: Shard) -> int:
    """The key of the first row of a shard; those of the others follow."""
    return int(shard.name[:10], 16) >> 1 << ROW_BITS


class ShardStore(Protocol):
    """Where the shards of one index are kept."""

    number: str  # type of a number of a row, of numpy
    drafts: Path  # folder for the rows of shards that are being written

    def read_shards(self) -> list[Shard]:
        """The complete shards, without damaged ones."""
        ...

    def add_shard(self, shard: Shard, rows: Path) -> None:
        """Keep a shard whose rows are in the file `rows`, which is moved or may be removed."""
        ...

    def remove_shard(self, shard: Shard) -> None:
        """Remove a shard that is out of date."""
        ...


class ShardTask(NamedTuple):
    """What a process needs to write the rows of one shard."""

    folder: str | Path  # of the collection
    records: Sequence[Record]
    stamps: Mapping[str, Stamp]
    space: EmbeddingSpace
    number: str
    drafts: Path
    limits: Limits


class WrittenShard(NamedTuple):
    """A shard whose rows are in a file, and id -> reason of the videos that are not in it."""

    shard: Shard
    rows: Path
    left_out: Mapping[str, str]


def update_shards(
    store: ShardStore, folder: str | Path, records: Sequence[Record], stamps: Mapping[str, Stamp], workers: int
) -> tuple[list[Shard], dict[str, str]]:
    """Bring a store up to date; its shards in order, and id -> reason of the videos that are in none.

    Only files that are new or changed are read, and those that share a shard with a changed one. UserError if no file
    is aligned, or files are aligned to different teachers.
    """
    stored = store.read_shards()
    kept = _up_to_date(stored, stamps)
    partial = [shard for shard in kept if 2 * shard.frames < SHARD_FRAMES]
    if len(partial) > MOST_PARTIAL:
        kept = [shard for shard in kept if shard not in partial]
    for shard in stored:
        if shard not in kept:
            store.remove_shard(shard)
    new = _missing(records, kept)
    left_out: dict[str, str] = {}
    space = kept[0].space if kept else None
    if space is None:
        first = next(embed_videos(folder, new, left_out), None)
        if first is None:
            raise unaligned_error(folder, left_out)
        space = first[1].embedding_space
    tasks = [
        ShardTask(folder, part, {each.path: stamps[each.path] for each in part}, space, store.number, store.drafts,
                  current_limits())
        for part in cut_into_shards(new)
    ]  # fmt: skip
    for written in run_tasks(write_shard, tasks, workers, "index"):
        left_out |= written.left_out
        if written.shard.files:  # unreadable files are tried again by the next call
            store.add_shard(written.shard, written.rows)
            kept.append(written.shard)
        written.rows.unlink(missing_ok=True)
    return sorted(kept, key=lambda shard: shard.name), left_out


def is_current(store: ShardStore, records: Sequence[Record], stamps: Mapping[str, Stamp]) -> bool:
    """Whether all files of these records are in the shards of a store, unchanged, and no others."""
    stored = store.read_shards()
    return bool(stored) and len(_up_to_date(stored, stamps)) == len(stored) and not _missing(records, stored)


def cut_into_shards(records: Sequence[Record]) -> list[list[Record]]:
    """The records in groups of at most SHARD_FRAMES frames, or of one file that has more."""
    groups: list[list[Record]] = []
    room = 0
    for record in records:
        if record.frames > room or not groups:
            groups.append([])
            room = SHARD_FRAMES
        groups[-1].append(record)
        room -= record.frames
    return groups


def write_shard(task: ShardTask) -> WrittenShard:
    """Write the rows of a shard, one file's at a time; memory is bounded by the longest file."""
    left_out: dict[str, str] = {}
    frames = {}
    crc = 0
    name = hashlib.sha256(json.dumps(sorted(task.stamps.items())).encode()).hexdigest()[:16]
    target = task.drafts / f"{name}.rows"
    with use_limits(task.limits), writing(target) as draft, draft.open("wb") as file:
        for index, embeddings in embed_videos(task.folder, task.records, left_out, task.space):
            rows = embeddings.vectors.astype(task.number).tobytes()
            crc = zlib.crc32(rows, crc)
            file.write(rows)
            frames[index] = len(embeddings.vectors)
    files = tuple(
        IndexedFile(record.path, *task.stamps[record.path], frames.get(index, 0))
        for index, record in enumerate(task.records)
        if left_out.get(record.id) in (None, UNALIGNED)
    )
    return WrittenShard(Shard(name, task.space, files, crc), target, left_out)


def run_tasks(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int, stage: str) -> Iterator[Result]:
    """Yield the result of each task when it is there, in processes of their own if `workers` is more than 1.

    UserError if a process dies.
    """
    workers = min(workers, len(tasks))
    with ProgressBar(total=len(tasks), desc=stage, unit="shard", disable=len(tasks) < 2) as bar:
        if workers < 2:
            for task in tasks:
                yield work(task)
                bar.update()
            return
        with process_pool(workers) as pool:
            with starting_processes():
                running = [pool.submit(_with_one_thread, work, task) for task in tasks]
            try:
                for each in as_completed(running):
                    yield each.result()
                    bar.update()
            except BrokenProcessPool as error:
                raise UserError(
                    f"index.workers={workers}: a process that wrote a shard died, for lack of memory perhaps; what is "
                    "written is kept: run the same command again, or with index.workers=1"
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _with_one_thread(work: Callable[[Task], Result], task: Task) -> Result:
    torch.set_num_threads(1)
    return work(task)


def _missing(records: Sequence[Record], shards: Sequence[Shard]) -> list[Record]:
    indexed = {each.path for shard in shards for each in shard.files}
    return [record for record in records if record.path not in indexed]


def _up_to_date(shards: Sequence[Shard], stamps: Mapping[str, Stamp]) -> list[Shard]:
    """The shards whose files are all unchanged, without those that repeat a file or are in another space."""
    kept: list[Shard] = []
    taken: set[str] = set()
    for shard in sorted(shards, key=lambda each: each.name):
        paths = {each.path for each in shard.files}
        unchanged = all(stamps.get(each.path) == each.stamp for each in shard.files)
        if unchanged and not taken & paths and (not kept or shard.space == kept[0].space):
            kept.append(shard)
            taken |= paths
    return kept
