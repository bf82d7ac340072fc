"""An index in LanceDB, a vector database that is embedded: a table in a folder or in a bucket.

    ADDRESS/frames.lance/  shards/<shard>.json

A row of the table is a frame: its vector, and a key of its shard and its place there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lancedb.index import BTree, IvfPq

from lightning_inr.errors import UserError
from lightning_inr.ranges import is_address
from lightning_inr.retrieval.index import Floats, Rows, check_k, check_unit_vectors
from lightning_inr.retrieval.shards import ROW_BITS, RowKeys, Shard, first_key
from lightning_inr.storage import open_folder

TABLE = "frames"
BATCH = 2**14  # rows that are added at once
ROWS_PER_LIST = 640
LEAST_ROWS = 9984  # below, every vector is compared: product quantizers have 256 centroids to be trained
LISTS_SEARCHED = 32
LEAST_COMPARED = 2000  # rows that are compared again in float32, as in `sharded_index`


class LanceStore:
    """The table and the descriptions of its shards; see `ShardStore`."""

    number = "float32"

    def __init__(self, address: str | Path, drafts: Path) -> None:
        self.address, self.drafts = str(address), drafts
        self.leftover = ""  # condition for rows of no shard, of a build that was interrupted
        self.notes = open_folder(address, "index")
        with errors_of_table(self.address):
            self.database = lancedb.connect(self.address, storage_options=storage_options(self.address))
            self.table: Any  # None: there is none; the stubs of lancedb lack methods of what it returns
            try:
                self.table = self.database.open_table(TABLE)
            except ValueError:  # there is none, or it is damaged
                self.table = None

    def read_shards(self) -> list[Shard]:
        """See `ShardStore`; none if the table does not have their rows: the first that is added then replaces it."""
        shards = []
        for entry in self.notes.names("shards/"):
            with suppress(ValueError, KeyError, TypeError):
                shards.append(Shard.from_json(self.notes.read(entry.name)))
        if not shards or self.table is None:
            self.table = None
            return []
        expected = sum(shard.frames for shard in shards)
        with errors_of_table(self.address):
            rows = self.table.count_rows()
            if rows == expected:
                return shards
            self.leftover = " AND ".join(f"NOT ({_key_range(each)})" for each in shards)
            if rows - self.table.count_rows(self.leftover) == expected:
                return shards
        self.table, self.leftover = None, ""
        return []

    def add_shard(self, shard: Shard, rows: Path) -> None:
        """See `ShardStore`."""
        width = shard.space.width
        schema = pa.schema([("key", pa.int64()), ("vector", pa.list_(pa.float32(), width))])
        with errors_of_table(self.address):
            if self.table is None:
                for entry in list(self.notes.names("shards/")):
                    self.notes.remove(entry.name)
                self.table = self.database.create_table(TABLE, schema=schema, mode="overwrite")
            self._drop_leftover()
            self.table.delete(_key_range(shard))
            if shard.frames:
                stored = np.memmap(rows, self.number, "r", shape=(shard.frames, width))
                self.table.add(pa.RecordBatchReader.from_batches(schema, _batches(stored, first_key(shard), schema)))
        self.notes.write(f"shards/{shard.name}.json", shard.to_json())

    def remove_shard(self, shard: Shard) -> None:
        """See `ShardStore`."""
        self.notes.remove(f"shards/{shard.name}.json")
        with errors_of_table(self.address):
            self.table.delete(_key_range(shard))

    def update_lists(self, exact: bool) -> None:
        """Build the inverted lists, or bring them up to date with the rows; those of the keys in any case."""
        with errors_of_table(self.address):
            self._drop_leftover()
            indexed = {column: each for each in self.table.list_indices() for column in each.columns}
            rows = self.table.count_rows()
            if any(each.num_unindexed_rows for each in indexed.values()):
                self.table.optimize()
            if "key" not in indexed:
                self.table.create_index("key", config=BTree())
            outgrown = "vector" not in indexed or 2 * indexed["vector"].num_unindexed_rows > rows
            if outgrown and not exact and rows >= LEAST_ROWS:
                self.table.create_index("vector", config=_lists(rows, self.table.schema.field("vector").type.list_size))

    def _drop_leftover(self) -> None:
        if self.leftover:
            self.table.delete(self.leftover)
        self.leftover = ""


class LanceIndex:
    """N vectors of length 1 in a table, searched by inner product; results as those of `VectorIndex`."""

    def __init__(self, store: LanceStore, shards: Sequence[Shard], exact: bool) -> None:
        self.table, self.address, self.exact = store.table, store.address, exact
        self.keys = RowKeys(shards)
        self.width = shards[0].space.width

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Floats, Rows]:
        """Find the `k` nearest vectors to queries (Q, S) of length 1: inner products, best first, and row numbers.

        Both have shape (Q, min(k, N)). An approximate index may find fewer: the rest is -inf and row -1.
        """
        checked = check_unit_vectors(queries, self.width)
        check_k(k)
        k = min(k, len(self))
        scores, rows = np.full((len(checked), k), -np.inf, np.float32), np.full((len(checked), k), -1, np.int64)
        for number, query in enumerate(checked if k else ()):
            asked = self.table.search(query).distance_type("dot").limit(k).select(["key", "_distance"])
            if self.exact:
                asked = asked.bypass_vector_index()
            else:
                asked = asked.nprobes(LISTS_SEARCHED).refine_factor(max(20, -(-LEAST_COMPARED // k)))
            with errors_of_table(self.address):
                found = asked.to_arrow()
            scores[number, : len(found)] = 1 - found["_distance"].to_numpy()
            rows[number, : len(found)] = self.keys.rows(found["key"].to_numpy())
        return scores, rows

    def vectors(self, first: int, count: int) -> Floats:
        """The vectors of rows `first` to `first + count - 1`, (count, S)."""
        keys = self.keys.of_rows(np.arange(first, first + count))
        parts = np.split(keys, np.flatnonzero(np.diff(keys) != 1) + 1)
        where = " OR ".join(f"(key >= {part[0]} AND key <= {part[-1]})" for part in parts if len(part))
        if not count:
            return np.empty((0, self.width), np.float32)
        with errors_of_table(self.address):
            found = self.table.search().where(where).limit(count).to_arrow().sort_by("key")
        stored: Floats = found["vector"].combine_chunks().flatten().to_numpy().reshape(count, self.width)
        return stored


def open_lance(store: LanceStore, shards: Sequence[Shard], exact: bool) -> LanceIndex:
    """The index of these shards, all of those in the store."""
    store.update_lists(exact)
    return LanceIndex(store, shards, exact)


@contextmanager
def errors_of_table(address: str) -> Iterator[None]:
    """Convert Lance's errors to UserError."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        remedy = "check the address and the permissions, or remove it, and it is built again"
        raise UserError(f"index={address}: {reason}; {remedy}") from error


def storage_options(address: str) -> dict[str, str] | None:
    """Options of Lance for a bucket behind AWS_ENDPOINT_URL; other settings it reads from the environment itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not is_address(address) or not endpoint:
        return None
    return {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}


def _key_range(shard: Shard) -> str:
    return f"key >= {first_key(shard)} AND key < {first_key(shard) + (1 << ROW_BITS)}"


def _batches(stored: npt.NDArray[np.float32], key: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(stored), BATCH):
        block = stored[start : start + BATCH]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), stored.shape[1])
        yield pa.record_batch([pa.array(np.arange(len(block)) + key + start), vectors], schema=schema)


def _lists(rows: int, width: int) -> IvfPq:
    numbers = next(each for each in (8, 4, 2, 1) if width % each == 0)  # numbers per 8-bit code
    return IvfPq(
        distance_type="dot",
        num_partitions=max(1, rows // ROWS_PER_LIST),
        num_sub_vectors=width // numbers,
        max_iterations=10,
        sample_rate=64,
    )
