"""Search of a collection by an embedding: `open_collection` and `search`, for tasks, servers and notebooks."""

import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_inr.errors import UserError
from lightning_inr.paths import write_text
from lightning_inr.retrieval.collection import Record, read_manifest
from lightning_inr.retrieval.gallery import UNALIGNED, check_same_space, read_gallery
from lightning_inr.retrieval.index import VectorIndex
from lightning_inr.types import EmbeddingSpace

INDEX_FOLDER = "index"  # in the collection's folder, with one folder per kind; rebuilt when the files change
MEMORY_MAPPED_BYTES = 2**30  # bytes; an index of at least this size is memory-mapped and not read
FRAMES_PER_HIT = 16  # frames searched first for each video requested, as neighbouring frames have similar embeddings
TRAINING_SAMPLE = 100_000  # vectors at most that an index is trained on


class IndexedFile(NamedTuple):
    """A file whose frames are rows of an index."""

    path: str
    size: int  # bytes, when it was indexed
    time: int  # of its last change, nanoseconds
    frames: int  # rows; 0 if it is not aligned to a teacher


class OpenCollection(NamedTuple):
    """A collection with its index."""

    folder: Path
    records: list[Record]
    embedding_space: EmbeddingSpace
    vectors: VectorIndex
    video: NDArray[np.int64]  # (N,), index of the video in `records`, for each row of `vectors`
    frame: NDArray[np.int64]  # (N,), number of the frame in its video
    left_out: Mapping[str, str]  # id of a video that is not in the index -> reason


class Hit(NamedTuple):
    """A frame found by a search."""

    record: Record
    frame: int
    seconds: float  # time of the frame in the video
    score: float  # cosine of query and frame embedding


def open_collection(folder: str | Path, kind: str = "exact") -> OpenCollection:
    """Open the collection in `folder` with its index of `kind`, which is built or updated on disk if needed.

    UserError if the folder has no manifest, or if its files are not aligned or aligned to different teachers.
    """
    folder = Path(folder)
    records = read_manifest(folder)
    index_folder = folder / INDEX_FOLDER / kind
    stamps = {record.path: _stamp(folder, record) for record in records}
    space, indexed, index = _load(index_folder, stamps, len(records))
    indexed_paths = {each.path for each in indexed}
    new = [record for record in records if record.path not in indexed_paths]
    left_out: dict[str, str] = {}
    if new:
        gallery = read_gallery(folder, new, space)
        left_out |= gallery.left_out
        index = index or _empty(gallery.vectors, kind)
        index.add(gallery.vectors)
        lengths = np.bincount(gallery.video, minlength=len(new))
        readable = [
            (record, int(length))
            for record, length in zip(new, lengths, strict=True)
            if left_out.get(record.id) in (None, UNALIGNED)  # unreadable files are tried again by the next call
        ]
        indexed = indexed + [IndexedFile(record.path, *stamps[record.path], length) for record, length in readable]
        space = gallery.embedding_space
        _save(index_folder, space, indexed, index)
    assert space is not None
    assert index is not None
    video_indices = {record.path: video_index for video_index, record in enumerate(records)}
    video = np.repeat([video_indices[each.path] for each in indexed], [each.frames for each in indexed])
    frame = np.concatenate([np.arange(each.frames) for each in indexed])
    left_out |= {records[video_indices[each.path]].id: UNALIGNED for each in indexed if not each.frames}
    return OpenCollection(folder, records, space, index, video, frame, left_out)


def search_collection(collection: OpenCollection, query: NDArray[np.float32], k: int, per: str = "video") -> list[Hit]:
    """The `k` hits nearest to `query`, (S,) of length 1, best first: the best frame of each video, or any frames.

    UserError for `per` other than "video" or "frame", and for `k` below 1.
    """
    if per not in ("video", "frame"):
        raise UserError(f"per={per}: choose video or frame")
    wanted = k if per == "frame" else k * FRAMES_PER_HIT
    while True:
        scores, rows = collection.vectors.search(query[None], wanted)
        found = [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0]
        if per == "video":
            best = {int(collection.video[row]): (row, score) for row, score in reversed(found)}
            found = sorted(best.values(), key=lambda hit: -hit[1])
        if len(found) >= k or wanted >= len(collection.vectors):
            return [_hit(collection, *hit) for hit in found[:k]]
        wanted *= 4


def frame_scores(collection: OpenCollection, record: Record, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames,): the score of each frame of one video; no file is read, as its frames are rows of the index."""
    rows = np.flatnonzero(collection.video == collection.records.index(record))
    if not len(rows):
        return np.zeros(0, np.float32)
    scores: NDArray[np.float32] = collection.vectors.vectors(int(rows[0]), len(rows)) @ query
    return scores


def _hit(collection: OpenCollection, row: int, score: float) -> Hit:
    record, frame = collection.records[collection.video[row]], int(collection.frame[row])
    return Hit(record, frame, frame / record.fps, score)


def _stamp(folder: Path, record: Record) -> tuple[int, int]:
    try:
        state = (folder / record.path).stat()
    except OSError:  # reading the file raises an error with the reason
        return 0, 0
    return state.st_size, state.st_mtime_ns


def _empty(vectors: NDArray[np.float32], kind: str) -> VectorIndex:
    index = VectorIndex(vectors.shape[1], kind)
    index.train(np.random.default_rng(0).choice(vectors, min(TRAINING_SAMPLE, len(vectors)), replace=False))
    return index


def _load(
    index_folder: Path, stamps: dict[str, tuple[int, int]], videos: int
) -> tuple[EmbeddingSpace | None, list[IndexedFile], VectorIndex | None]:
    """The index in the folder `kept`; nothing if it is damaged, or if an indexed file has changed or is missing."""
    try:
        state = json.loads((index_folder / "files.json").read_text())
        indexed = [IndexedFile(*each) for each in state["files"]]
        if any(stamps.get(each.path) != (each.size, each.time) for each in indexed):
            return None, [], None
        file = index_folder / "vectors.faiss"
        large = len(indexed) == videos and file.stat().st_size >= MEMORY_MAPPED_BYTES
        if not large and zlib.crc32(file.read_bytes()) != state["crc"]:
            return None, [], None  # FAISS detects damaged vectors late or not at all
        index = VectorIndex.load(file, memory_map=large)
        if len(index) != sum(each.frames for each in indexed):
            return None, [], None
        return EmbeddingSpace(*state["space"]), indexed, index
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None, [], None


def _save(index_folder: Path, space: EmbeddingSpace, indexed: Sequence[IndexedFile], index: VectorIndex) -> None:
    try:
        index.save(index_folder / "vectors.faiss")
        crc = zlib.crc32((index_folder / "vectors.faiss").read_bytes())
        write_text(index_folder / "files.json", json.dumps({"space": space, "files": indexed, "crc": crc}))
    except UserError as error:
        warnings.warn(f"the index is not saved for the next search: {error}", stacklevel=3)


def check_teacher(collection: OpenCollection, space: EmbeddingSpace) -> None:
    """UserError if a query of this embedding space cannot be compared with the collection."""
    check_same_space(space, collection.embedding_space, "the query", f"collection {collection.folder}")
