"""An index whose vectors stay on disk: shards that are searched in turn, or inverted lists merged from them.

FOLDER/<shard>.json  <shard>.vectors
and for "ivf_pq"  trained.faiss  <shard>.<trained>.codes  merged-<shards>.faiss  merged-<shards>.lists
"""

import ctypes
import hashlib
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
from faiss.contrib.ondisk import merge_ondisk

from lightning_inr.errors import UserError
from lightning_inr.paths import write_bytes, writing
from lightning_inr.retrieval.index import (
    METRIC,
    Floats,
    Rows,
    check_k,
    check_unit_vectors,
    limit_array_bytes,
    limit_threads,
)
from lightning_inr.retrieval.shards import RowKeys, Shard, first_key, run_tasks

NUMBERS = {"exact": "float32", "ivf_pq": "float16"}  # type of a stored number, by kind
BLOCK = 2**14  # rows that are read or encoded at once
TRAINING_SAMPLE = 100_000  # rows at most that "ivf_pq" is trained on
TRAINING_ROUNDS = 10  # of the product quantizer; FAISS' own 25 take longer and find no more
LEAST_ROWS = 9984  # 39 for each of the 256 centroids of a product quantizer: with fewer, FAISS warns
ROWS_PER_LIST = 640
OUTGROWN = 4  # times the lists that were trained: more are trained anew
LISTS_SEARCHED = 32
LEAST_COMPARED = 2000  # rows that are compared again in float16; many, as frames of a still video share a code
CHECKED_BYTES = 2**30  # rows of an index up to this size are checked when it is opened


class ShardFiles:
    """The shards of an index in a folder on disk; see `ShardStore`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.drafts, self.number = folder, NUMBERS[kind]

    def read_shards(self) -> list[Shard]:
        """See `ShardStore`."""
        shards = [shard for path in self.drafts.glob("*.json") if (shard := self._read(path)) is not None]
        if sum(self._bytes(shard) for shard in shards) > CHECKED_BYTES:
            return shards
        return [shard for shard in shards if zlib.crc32(self.rows_of(shard).read_bytes()) == shard.crc]

    def add_shard(self, shard: Shard, rows: Path) -> None:
        """See `ShardStore`; the rows are in this folder already."""
        rows.replace(self.rows_of(shard))
        write_bytes(self.drafts / f"{shard.name}.json", shard.to_json())

    def remove_shard(self, shard: Shard) -> None:
        """See `ShardStore`."""
        for path in self.drafts.glob(f"{shard.name}.*"):
            path.unlink(missing_ok=True)

    def open_rows(self, shard: Shard) -> npt.NDArray[np.floating]:
        """The rows of a shard, (frames, S), memory-mapped."""
        shape = (shard.frames, shard.space.width)
        return np.memmap(self.rows_of(shard), self.number, "r", shape=shape) if shard.frames else np.empty(shape)

    def _read(self, path: Path) -> Shard | None:
        try:
            shard = Shard.from_json(path.read_bytes())
            whole = shard.name == path.stem and self.rows_of(shard).stat().st_size == self._bytes(shard)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return shard if whole else None

    def rows_of(self, shard: Shard) -> Path:
        """The file of a shard's rows."""
        return self.drafts / f"{shard.name}.vectors"

    def _bytes(self, shard: Shard) -> int:
        return shard.frames * shard.space.width * np.dtype(self.number).itemsize


class ShardedIndex:
    """N vectors of length 1 on disk, searched by inner product; results as those of `VectorIndex`.

    A query is compared with every vector. With `lists`, N short codes in inverted lists on disk, it is compared with
    the LEAST_COMPARED vectors that they find.
    """

    def __init__(self, shards: Sequence[npt.NDArray[np.floating]], keys: RowKeys) -> None:
        self.shards, self.keys, self.first = [shard for shard in shards if len(shard)], keys, keys.first
        self.width = shards[0].shape[1]
        self.lists: Any = None  # of FAISS, whose types lack what a kind of index has of its own

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Floats, Rows]:
        """Find the `k` nearest vectors to queries (Q, S) of length 1: inner products, best first, and row numbers.

        Both have shape (Q, min(k, N)). With `lists` fewer may be found: the rest is -inf and row -1.
        """
        checked = check_unit_vectors(queries, self.width)
        check_k(k)
        k = min(k, len(self))
        if not k:
            return np.empty((len(checked), 0), np.float32), np.empty((len(checked), 0), np.int64)
        with limit_threads(len(checked)):
            return self._compare_all(checked, k) if self.lists is None else self._compare_found(checked, k)

    def vectors(self, first: int, count: int) -> Floats:
        """The vectors of rows `first` to `first + count - 1`, (count, S), as they are stored."""
        return self.take(np.arange(first, first + count))

    def take(self, rows: Rows) -> Floats:
        """The vectors of these rows, (len(rows), S)."""
        found = np.empty((len(rows), self.width), np.float32)
        shards = np.searchsorted(self.first, rows, side="right") - 1
        for number in np.unique(shards):
            within = shards == number
            found[within] = self.shards[number][rows[within] - self.first[number]]
        return found

    def _compare_all(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        best = faiss.ResultHeap(len(queries), k, keep_max=True)
        for shard, first in zip(self.shards, self.first, strict=False):
            scores, rows = faiss.knn(queries, shard, min(k, len(shard)), metric=METRIC)
            best.add_result(scores, rows + first)
        best.finalize()
        return best.D, best.I

    def _compare_found(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        assert self.lists is not None
        _, candidates = self.lists.search(queries, min(max(LEAST_COMPARED, 20 * k), len(self)))
        for number, query in enumerate(queries):
            found = np.sort(self.keys.rows(candidates[number]))  # in the order of the disk
            found = found[found >= 0]
            compared = self.take(found) @ query
            best = np.argsort(-compared, kind="stable")[:k]
            scores[number, : len(best)], rows[number, : len(best)] = compared[best], found[best]
        return scores, rows


def open_sharded(files: ShardFiles, kind: str, shards: Sequence[Shard], workers: int) -> ShardedIndex:
    """The index of these shards; for "ivf_pq" with inverted lists, which are built first where they are missing.

    UserError if "ivf_pq" has fewer than LEAST_ROWS vectors.
    """
    index = ShardedIndex([files.open_rows(shard) for shard in shards], RowKeys(shards))
    if kind == "ivf_pq":
        index.lists = _merged_lists(files, index, shards, workers)
    return index


class CodesTask(NamedTuple):
    """What a process needs to encode the rows of one shard."""

    rows: Path
    shape: tuple[int, int]
    first_key: int
    trained: Path
    target: Path


def write_codes(task: CodesTask) -> Path:
    """Write the codes of a shard, an index of the trained kind whose ids are the keys of its rows."""
    index = faiss.read_index(str(task.trained))
    rows = np.memmap(task.rows, NUMBERS["ivf_pq"], "r", shape=task.shape)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK].astype(np.float32)
        index.add_with_ids(block, task.first_key + np.arange(start, start + len(block)))
    _write_index(index, task.target)
    return task.target


def train_lists(index: ShardedIndex) -> faiss.Index:
    """An empty index of inverted lists, trained on a random sample of the rows."""
    if len(index) < LEAST_ROWS:
        raise UserError(f"index=ivf_pq: {len(index)} vectors, at least {LEAST_ROWS} needed; choose exact")
    chosen = np.random.default_rng(0).choice(len(index), min(TRAINING_SAMPLE, len(index)), replace=False)
    sample = index.take(np.sort(chosen))
    numbers = next(each for each in (8, 4, 2, 1) if index.width % each == 0)  # numbers per 8-bit code
    name = f"IVF{lists_for(len(index))},PQ{index.width // numbers}"
    trained: Any = faiss.index_factory(index.width, name, METRIC)
    trained.pq.cp.niter = TRAINING_ROUNDS
    trained.train(sample)
    return trained


def lists_for(rows: int) -> int:
    """The number of inverted lists for an index of so many rows: 64 of the sample train one."""
    return max(1, min(rows // ROWS_PER_LIST, min(rows, TRAINING_SAMPLE) // 64))


def _merged_lists(files: ShardFiles, index: ShardedIndex, shards: Sequence[Shard], workers: int) -> faiss.Index:
    trained = files.drafts / "trained.faiss"
    before = _read_lists(trained, index.width)
    if before is None or lists_for(len(index)) > OUTGROWN * before.nlist:
        _write_index(train_lists(index), trained)
    version = hashlib.sha256(trained.read_bytes()).hexdigest()[:8]
    names = f"{version} {' '.join(shard.name for shard in shards)}"
    merged = files.drafts / f"merged-{hashlib.sha256(names.encode()).hexdigest()[:16]}.faiss"
    if _has_rows(merged, len(index), index.width):
        return _searching(_read_lists(merged, index.width))
    codes = {shard.name: files.drafts / f"{shard.name}.{version}.codes" for shard in shards if shard.frames}
    for old in {*files.drafts.glob("merged-*"), *files.drafts.glob("*.codes")} - {*codes.values()}:
        old.unlink()
    tasks = [
        CodesTask(files.rows_of(shard), (shard.frames, index.width), first_key(shard), trained, codes[shard.name])
        for shard in shards
        if shard.frames and not _has_rows(codes[shard.name], shard.frames, index.width)
    ]
    for _ in run_tasks(write_codes, tasks, workers, "codes"):
        pass
    _merge(trained, list(codes.values()), merged)
    return _searching(_read_lists(merged, index.width))


def _merge(trained: Path, codes: Sequence[Path], target: Path) -> None:
    """Merge the codes of all shards into inverted lists on disk, and write the index that refers to them last."""
    index: Any = faiss.read_index(str(trained))  # the stub names the base class
    lists = target.with_suffix(".lists")
    with writing(lists) as draft, _without_output():
        merge_ondisk(index, [str(path) for path in codes], str(draft))
    merged: Any = faiss.downcast_InvertedLists(index.invlists)
    merged.filename = str(lists.absolute())
    _write_index(index, target)


@contextmanager
def _without_output() -> Iterator[None]:
    """Drop what FAISS prints inside the context, on standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C's own buffer
        os.dup2(kept, 1)
        os.close(kept)


def _write_index(index: faiss.Index, target: Path) -> None:
    with writing(target) as draft, draft.open("wb") as file:
        # Through Python's file: FAISS' own writer does not report a disk that is full at the last bytes.
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]


def _read_lists(path: Path, width: int) -> Any:
    """An index of inverted lists, with lists on disk left there; None if it is missing, damaged or another.

    A merged index names its lists by their absolute path, so one in a folder that was moved is merged again.
    """
    try:
        lists = path.with_suffix(".lists").absolute()
        on_disk = lists.stat().st_size if lists.exists() else 0
        if on_disk and str(lists).encode() not in path.read_bytes():
            return None
        with limit_array_bytes(path.stat().st_size + on_disk):
            index = faiss.read_index(str(path), faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        if not isinstance(index, faiss.IndexIVFPQ) or (index.d, index.metric_type) != (width, METRIC):
            return None
        assert index.invlists is not None
        found = faiss.downcast_InvertedLists(index.invlists)
        whole = not isinstance(found, faiss.OnDiskInvertedLists) or _lists_are_whole(found, on_disk)
    except (OSError, RuntimeError, MemoryError, AttributeError):
        return None
    return index if whole else None


def _lists_are_whole(lists: Any, size: int) -> bool:
    """Whether every list lies within its file of `size` bytes: reading beyond the end would end the process."""
    entry = lists.code_size + np.dtype(np.int64).itemsize
    lengths: Any = lists.lists  # a vector of C++, which its stub calls a list
    each = [lengths.at(number) for number in range(lists.nlist)]
    return all(one.size <= one.capacity and one.offset + one.capacity * entry <= size for one in each)


def _has_rows(path: Path, count: int, width: int) -> bool:
    found = _read_lists(path, width)
    return found is not None and found.ntotal == count


def _searching(index: Any) -> Any:
    index.nprobe = LISTS_SEARCHED
    return index
