"""The index of a collection, built or brought up to date where the collection's files have changed.

It is one file for up to SHARD_FRAMES frames, shards on disk for more, and a table for `index=lancedb`.
"""

import json
import tempfile
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_inr.errors import UserError
from lightning_inr.paths import write_text
from lightning_inr.retrieval import shards as sharding
from lightning_inr.retrieval.collection import Record, file_address
from lightning_inr.retrieval.gallery import UNALIGNED, read_gallery
from lightning_inr.retrieval.index import KINDS, SearchIndex, VectorIndex
from lightning_inr.retrieval.index_folder import INDEX_FOLDER, cached, index_folder, is_writable
from lightning_inr.retrieval.indexed_files import IndexedFile, Stamp, file_stamps
from lightning_inr.retrieval.sharded_index import ShardFiles, open_sharded
from lightning_inr.types import EmbeddingSpace

LANCEDB = "lancedb"
FILES = ("files.json", "vectors.faiss")  # of an index of one file
TRAINING_SAMPLE = 100_000  # vectors at most that an index is trained on


@dataclass(frozen=True)
class IndexOptions:
    """The kind of an index, where it is kept, and how it is built; UserError for values out of range."""

    kind: str = "exact"
    workers: int = 1  # processes that build it, where there are several shards
    exact: bool = False  # of lancedb: compare the query with every vector
    address: str | None = None  # of lancedb: folder or URL of the table; None: beside the collection

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, LANCEDB):
            raise UserError(f"index={self.kind}: unknown; choose one of {', '.join((*KINDS, LANCEDB))}")
        if type(self.workers) is not int or self.workers < 1:
            raise UserError(f"index.workers={self.workers}: choose a whole number from 1")


class StoredIndex(NamedTuple):
    """An index that is up to date with the files of a collection."""

    vectors: SearchIndex
    embedding_space: EmbeddingSpace
    files: Sequence[IndexedFile]  # whose frames are the rows, in this order
    left_out: Mapping[str, str]  # id of a video that is not in the index -> reason


def open_index(folder: str | Path, records: Sequence[Record], options: IndexOptions) -> StoredIndex:
    """The index of these files of a collection.

    UserError if none of them is aligned, if they are aligned to different teachers, or if a process dies.
    """
    if options.kind == LANCEDB:
        return _open_table(folder, records, options)
    with index_folder(folder, options.kind) as kept:
        if sum(record.frames for record in records) <= sharding.SHARD_FRAMES:
            return _open_file(kept, folder, records, options.kind)
        return _open_shards(kept, folder, records, options)


def _open_shards(kept: Path, folder: str | Path, records: Sequence[Record], options: IndexOptions) -> StoredIndex:
    for name in FILES:  # of the time when the collection was smaller
        (kept / name).unlink(missing_ok=True)
    files = ShardFiles(kept, options.kind)
    stamps = file_stamps(folder, records)
    shards, left_out = sharding.update_shards(files, folder, records, stamps, options.workers)
    index = open_sharded(files, options.kind, shards, options.workers)
    return _stored(index, shards, left_out)


def _open_table(folder: str | Path, records: Sequence[Record], options: IndexOptions) -> StoredIndex:
    from lightning_inr.retrieval.lance_index import LanceStore, open_lance

    stamps = file_stamps(folder, records)
    with tempfile.TemporaryDirectory() as drafts:
        store = LanceStore(options.address or file_address(folder, f"{INDEX_FOLDER}/{LANCEDB}"), Path(drafts))
        if options.address is None and not sharding.is_current(store, records, stamps) and not is_writable(folder):
            store = LanceStore(cached(folder, LANCEDB), Path(drafts))
            warnings.warn(f"collection={folder} cannot be written: its index is kept in {store.address}", stacklevel=4)
        shards, left_out = sharding.update_shards(store, folder, records, stamps, options.workers)
    return _stored(open_lance(store, shards, options.exact), shards, left_out)


def _stored(index: SearchIndex, shards: Sequence[sharding.Shard], left_out: Mapping[str, str]) -> StoredIndex:
    return StoredIndex(index, shards[0].space, [each for shard in shards for each in shard.files], left_out)


def _open_file(kept: Path, folder: str | Path, records: Sequence[Record], kind: str) -> StoredIndex:
    """The index of one file, to which the frames of new files are added."""
    stamps = file_stamps(folder, records)
    space, indexed, index = _load(kept, stamps)
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
        _save(kept, space, indexed, index)
    assert space is not None
    assert index is not None
    return StoredIndex(index, space, indexed, left_out)


def _empty(vectors: NDArray[np.float32], kind: str) -> VectorIndex:
    index = VectorIndex(vectors.shape[1], kind)
    index.train(np.random.default_rng(0).choice(vectors, min(TRAINING_SAMPLE, len(vectors)), replace=False))
    return index


def _load(
    kept: Path, stamps: Mapping[str, Stamp]
) -> tuple[EmbeddingSpace | None, list[IndexedFile], VectorIndex | None]:
    """The index in the folder `kept`; nothing if it is damaged, or if an indexed file has changed or is missing."""
    try:
        state = json.loads((kept / FILES[0]).read_text())
        indexed = [IndexedFile(*each) for each in state["files"]]
        if any(stamps.get(each.path) != each.stamp for each in indexed):
            return None, [], None
        file = kept / FILES[1]
        if zlib.crc32(file.read_bytes()) != state["crc"]:
            return None, [], None  # FAISS detects damaged vectors late or not at all
        index = VectorIndex.load(file)
        if len(index) != sum(each.frames for each in indexed):
            return None, [], None
        return EmbeddingSpace(*state["space"]), indexed, index
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None, [], None


def _save(kept: Path, space: EmbeddingSpace, indexed: Sequence[IndexedFile], index: VectorIndex) -> None:
    try:
        index.save(kept / FILES[1])
        crc = zlib.crc32((kept / FILES[1]).read_bytes())
        write_text(kept / FILES[0], json.dumps({"space": space, "files": indexed, "crc": crc}))
    except UserError as error:
        warnings.warn(f"the index is not saved for the next search: {error}", stacklevel=3)
