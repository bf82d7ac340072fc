"""An index of unit vectors on disk, and nearest-neighbour search in it (FAISS: Douze et al. 2024)."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from lightning_inr.errors import UserError
from lightning_inr.paths import existing, writing

KINDS = ("exact", "ivf_pq")
METRIC = faiss.METRIC_INNER_PRODUCT
LEAST_SAMPLE = 624  # 39 for each of the 16 centroids of a 4-bit product quantizer: with fewer, FAISS warns
HEADER = struct.Struct("<4siq")  # first bytes of a FAISS file: type, width, number of vectors
LEAST_BYTES = {b"IxFI": 4, b"IxRF": 2}  # bytes per number at least, by type: the two that `new_index` creates

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class SearchIndex(Protocol):
    """What every index of N vectors of length 1 can do, wherever it keeps them."""

    def __len__(self) -> int: ...

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Floats, Rows]:
        """Inner products (Q, min(k, N)), best first, and row numbers; -inf and -1 where fewer are found."""
        ...

    def vectors(self, first: int, count: int) -> Floats:
        """The vectors of rows `first` to `first + count - 1`, (count, S)."""
        ...


class VectorIndex:
    """N vectors of length 1 with `width` numbers each, in the order they were added, searched by inner product.

    - "exact": float32, the query is compared with every vector; on a GPU if FAISS finds one;
    - "ivf_pq": short codes in inverted lists (Jégou et al. 2011), the best of them compared again in float16;
      approximate, and memory-mapped it needs the least memory. It must be trained before the first `add`.

    HNSW is not offered: frames of one video, above all of a still one, are nearest neighbours of each other only, so
    that the graph has isolated parts which a search from elsewhere does not reach.
    """

    def __init__(self, width: int, kind: str = "exact") -> None:
        if kind not in KINDS:
            raise UserError(f"index={kind}: unknown; choose one of {', '.join(KINDS)}")
        self.width = width
        self.kind = kind
        self._index = new_index(width, kind, lists=1)
        self._mapped = False
        self._on_gpu: faiss.Index | None = None

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def train(self, sample: npt.ArrayLike) -> None:
        """Train "ivf_pq" on a random sample (M, S) of the vectors to be added, M >= 624; "exact" needs no training.

        100,000 vectors are enough for an index of a million. UserError if there are fewer than 624.
        """
        if self.kind != "ivf_pq":
            return
        vectors = check_unit_vectors(sample, self.width)
        if len(vectors) < LEAST_SAMPLE:
            raise UserError(f"index=ivf_pq: {len(vectors)} vectors, at least {LEAST_SAMPLE} needed; choose exact")
        self._index = new_index(self.width, self.kind, lists=len(vectors) // 64)
        self._index.train(vectors)

    def add(self, vectors: npt.ArrayLike) -> None:
        """Append vectors (M, S) of length 1; UserError for other vectors, and if the index is memory-mapped."""
        checked = check_unit_vectors(vectors, self.width)
        if self._mapped:  # FAISS would abort the process
            raise UserError("a memory-mapped index is read-only; load it without memory_map to add to it")
        self._index.add(checked)
        self._on_gpu = None

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Floats, Rows]:
        """Find the `k` nearest vectors to queries (Q, S) of length 1: inner products, best first, and row numbers.

        Both have shape (Q, min(k, N)). An approximate index may find fewer: the rest is -inf and row -1.
        """
        checked = check_unit_vectors(queries, self.width)
        check_k(k)
        k = min(k, len(self))
        if not k:
            return np.empty((len(checked), 0), np.float32), np.empty((len(checked), 0), np.int64)
        if self.kind == "ivf_pq":
            set_search_extent(self._index, k)  # a loaded file has parameters of its own
        with limit_threads(len(checked)):
            scores, rows = self._search_index().search(checked, k)
        scores[rows < 0] = -np.inf
        return scores, rows

    def vectors(self, first: int, count: int) -> Floats:
        """The vectors of rows `first` to `first + count - 1`, (count, S); of "ivf_pq" in float16's precision."""
        found: Floats = self._index.reconstruct_n(first, count)
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a FAISS file, which can be loaded, extended with `add` and saved again."""
        with writing(path) as draft, draft.open("wb") as file:
            # Through Python's file: FAISS' own writer does not report a disk that is full at the last bytes.
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]

    @classmethod
    def load(cls, path: str | os.PathLike[str], memory_map: bool = False) -> Self:
        """Read a file of `save`; with `memory_map`, pages are read during a search, and the index is read-only.

        UserError if the file is damaged or not an index. Damage within the vectors is not detected.
        """
        file = existing(path, "index")
        width, count = read_header(file)
        try:
            with limit_array_bytes(file.stat().st_size):
                index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC if memory_map else 0)
        except (RuntimeError, MemoryError) as error:
            raise damaged_index_error(file) from error
        kind = index_kind(index)
        if kind is None or (index.d, index.ntotal) != (width, count):
            raise damaged_index_error(file)
        loaded = cls(width, kind)
        loaded._index, loaded._mapped = index, memory_map
        return loaded

    def _search_index(self) -> faiss.Index:
        """The index, or its copy on the GPU; FAISS has no GPU index for "ivf_pq"."""
        if self.kind != "exact" or not faiss.get_num_gpus():
            return self._index
        if self._on_gpu is None:
            self._on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self._index)
        return self._on_gpu


def check_unit_vectors(vectors: npt.ArrayLike, width: int) -> Floats:
    """The vectors as (M, width) float32; UserError if they are not finite or not of length 1."""
    checked = np.ascontiguousarray(vectors, np.float32)
    if checked.ndim != 2 or checked.shape[1] != width:
        raise UserError(f"vectors {checked.shape}: the index is for (…, {width}); use the teacher it was built with")
    length = np.sqrt(np.einsum("ns,ns->n", checked, checked))
    wrong = np.flatnonzero(~(np.abs(length - 1) < 0.01))  # true for NaN too
    if len(wrong):
        raise UserError(
            f"{len(wrong)} of {len(checked)} vectors are not of length 1, the first is {wrong[0]} with "
            f"{length[wrong[0]]:.3g}; normalise them, and leave out those that are zero or not finite"
        )
    return checked


def check_k(k: int) -> None:
    """UserError for a number of hits below 1."""
    if k < 1:
        raise UserError(f"k={k}: choose at least 1")


def new_index(width: int, kind: str, lists: int) -> faiss.Index:
    """An empty FAISS index for inner products; `lists`: the number of inverted lists of "ivf_pq"."""
    if kind == "exact":
        return faiss.IndexFlatIP(width)
    numbers = next(each for each in (4, 2, 1) if width % each == 0)  # numbers per 4-bit code
    name = f"IVF{lists},PQ{width // numbers}x4fs,Refine(SQfp16)"
    return faiss.index_factory(width, name, METRIC)


def set_search_extent(index: Any, k: int) -> None:
    """Set the extent of an approximate search for `k`: recall@10 is above 0.95 in a million frames."""
    index.k_factor = max(20, 2000 / k)  # compared again per hit; many, as frames of a still video share a code
    faiss.extract_index_ivf(index).nprobe = 32  # inverted lists searched


def index_kind(index: faiss.Index) -> str | None:
    """The kind (of KINDS) of a FAISS index; None for any other index."""
    parts = [index]
    if isinstance(index, faiss.IndexRefine):
        parts += [faiss.downcast_index(index.base_index), faiss.downcast_index(index.refine_index)]
    if {(each.metric_type, each.d, each.ntotal) for each in parts} != {(METRIC, index.d, index.ntotal)}:
        return None
    types = {
        ("IndexFlatIP",): "exact",
        ("IndexRefine", "IndexIVFPQFastScan", "IndexScalarQuantizer"): "ivf_pq",
    }
    return types.get(tuple(type(each).__name__ for each in parts))


def read_header(file: Path) -> tuple[int, int]:
    """Width and number of vectors in the header of a FAISS file; UserError if the file is too short for them."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            kind, width, count = HEADER.unpack(stream.read(HEADER.size))
    except struct.error as error:
        raise damaged_index_error(file) from error
    except OSError as error:
        raise UserError(f"index={file}: {error.strerror}; name an index file") from error
    if kind not in LEAST_BYTES or width < 1 or count < 0 or LEAST_BYTES[kind] * width * count > size:
        raise damaged_index_error(file)
    return width, count


@contextmanager
def limit_threads(queries: int) -> Iterator[None]:
    """Limit FAISS to one thread per query in the context: a single query with two threads takes 2.5 times as long."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, min(before, queries)))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def limit_array_bytes(size: int) -> Iterator[None]:
    """Limit FAISS in the context to `size` bytes for each array of a file that it reads."""
    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    faiss.set_deserialization_vector_byte_limit(size + 1)
    faiss.set_deserialization_loop_limit(size)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before[0])
        faiss.set_deserialization_loop_limit(before[1])


def damaged_index_error(file: Path) -> UserError:
    """The error for a file that is damaged or not an index."""
    return UserError(f"index={file}: not an index of this program, or damaged; delete it and build it again")
