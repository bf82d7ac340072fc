"""Search of a collection by an embedding: `open_collection` and `search`, for tasks, servers and notebooks."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_inr.errors import UserError
from lightning_inr.ranges import located
from lightning_inr.retrieval.collection import Record, read_manifest
from lightning_inr.retrieval.gallery import UNALIGNED, check_same_space
from lightning_inr.retrieval.index import SearchIndex
from lightning_inr.retrieval.indexed_files import Rows
from lightning_inr.retrieval.stored_index import IndexOptions, open_index
from lightning_inr.types import EmbeddingSpace

FRAMES_PER_HIT = 16  # frames searched first for each video requested, as neighbouring frames have similar embeddings


class OpenCollection(NamedTuple):
    """A collection with its index."""

    folder: str | Path  # a URL, or a folder on disk
    records: list[Record]
    embedding_space: EmbeddingSpace
    vectors: SearchIndex
    rows: Rows  # the video, as its index in `records`, and the frame of each row of `vectors`
    left_out: Mapping[str, str]  # id of a video that is not in the index -> reason


class Hit(NamedTuple):
    """A frame found by a search."""

    record: Record
    frame: int
    seconds: float  # time of the frame in the video
    score: float  # cosine of query and frame embedding


def open_collection(folder: str | Path, index: IndexOptions | str = "exact") -> OpenCollection:
    """Open the collection in a folder or a bucket with its index, which is built or updated if needed.

    `index` is a kind or options. UserError if there is no manifest, or if the files are not aligned or aligned to
    different teachers.
    """
    folder = located(folder)
    records = read_manifest(folder)
    stored = open_index(folder, records, IndexOptions(index) if isinstance(index, str) else index)
    videos = {record.path: video for video, record in enumerate(records)}
    rows = Rows([videos[each.path] for each in stored.files], [each.frames for each in stored.files])
    unaligned = {records[videos[each.path]].id: UNALIGNED for each in stored.files if not each.frames}
    return OpenCollection(
        folder, records, stored.embedding_space, stored.vectors, rows, {**stored.left_out, **unaligned}
    )


def search_collection(collection: OpenCollection, query: NDArray[np.float32], k: int, per: str = "video") -> list[Hit]:
    """The `k` hits nearest to `query`, (S,) of length 1, best first: the best frame of each video, or any frames.

    UserError for `per` other than "video" or "frame", and for `k` below 1.
    """
    if per not in ("video", "frame"):
        raise UserError(f"per={per}: choose video or frame")
    wanted = k if per == "frame" else k * FRAMES_PER_HIT
    while True:
        scores, rows = collection.vectors.search(query[None], wanted)
        found = _frames(collection, rows[0], scores[0])
        if per == "video":
            best = {video: (video, frame, score) for video, frame, score in reversed(found)}
            found = sorted(best.values(), key=lambda each: -each[2])
        if len(found) >= k or wanted >= len(collection.vectors):
            return [_hit(collection, *each) for each in found[:k]]
        wanted *= 4


def frame_scores(collection: OpenCollection, record: Record, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames,): the score of each frame of one video; no file is read, as its frames are rows of the index."""
    rows = collection.rows.of_video(collection.records.index(record))
    if not len(rows):
        return np.zeros(0, np.float32)
    scores: NDArray[np.float32] = collection.vectors.vectors(rows.start, len(rows)) @ query
    return scores


def _frames(
    collection: OpenCollection, rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> list[tuple[int, int, float]]:
    """Video, frame and score of each row that was found."""
    found = rows >= 0
    videos, frames = collection.rows.places(rows[found])
    return list(zip(videos.tolist(), frames.tolist(), scores[found].tolist(), strict=True))


def _hit(collection: OpenCollection, video: int, frame: int, score: float) -> Hit:
    record = collection.records[video]
    return Hit(record, frame, frame / record.fps, score)


def check_teacher(collection: OpenCollection, space: EmbeddingSpace) -> None:
    """UserError if a query of this embedding space cannot be compared with the collection."""
    check_same_space(space, collection.embedding_space, "the query", f"collection {collection.folder}")
