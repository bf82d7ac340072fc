"""Vector indexes: results in memory and from disk, and files that are refused."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from lightning_inr.errors import UserError
from lightning_inr.retrieval.index import KINDS, VectorIndex

WIDTH = 24


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Forty videos of twenty frames in random walks about a centre."""
    random = np.random.default_rng(0)
    steps = random.standard_normal((40, 20, WIDTH))
    steps[:, 1:] *= 0.1
    return unit(steps.cumsum(1).reshape(-1, WIDTH))


def built(kind: str, vectors: np.ndarray) -> VectorIndex:
    index = VectorIndex(WIDTH, kind)
    index.train(vectors)
    for start in range(0, len(vectors), 300):
        index.add(vectors[start : start + 300])
    return index


def test_exact_is_the_inner_product_in_order(vectors: np.ndarray) -> None:
    scores, rows = built("exact", vectors).search(vectors[:5], 7)
    similarity = vectors[:5] @ vectors.T
    np.testing.assert_array_equal(rows, np.argsort(-similarity, axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-similarity, axis=1)[:, :7], atol=1e-6)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64


def test_the_approximate_index_has_high_recall(vectors: np.ndarray) -> None:
    queries = unit(vectors[::7] + 0.05)
    _, expected = built("exact", vectors).search(queries, 10)
    scores, rows = built("ivf_pq", vectors).search(queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(expected, rows, strict=True)]) > 0.95
    np.testing.assert_allclose(scores[:, 0], (queries * vectors[rows[:, 0]]).sum(1), atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_video_does_not_hide_others(kind: str, vectors: np.ndarray) -> None:
    still = vectors.copy()
    still[100:600] = still[0]
    np.testing.assert_allclose(built(kind, still).search(still, 1)[0], 1, atol=2e-3)


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_index_gives_the_same_results(
    kind: str, memory_map: bool, vectors: np.ndarray, tmp_path: Path
) -> None:
    index = built(kind, vectors)
    index.save(tmp_path / "frames.faiss")
    loaded = VectorIndex.load(tmp_path / "frames.faiss", memory_map)
    assert (loaded.kind, loaded.width, len(loaded)) == (kind, WIDTH, len(vectors))
    for got, expected in zip(loaded.search(vectors[:9], 5), index.search(vectors[:9], 5), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_index_can_be_extended(kind: str, vectors: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "frames.faiss"
    built(kind, vectors[:700]).save(path)
    index = VectorIndex.load(path)
    index.add(vectors[700:])
    index.save(path)
    scores, rows = VectorIndex.load(path).search(vectors[[3, 750]], 1)
    np.testing.assert_array_equal(rows[:, 0], [3, 750])
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-3)


def test_a_mapped_index_is_read_only(vectors: np.ndarray, tmp_path: Path) -> None:
    built("exact", vectors).save(tmp_path / "frames.faiss")
    with pytest.raises(UserError, match="read-only"):
        VectorIndex.load(tmp_path / "frames.faiss", memory_map=True).add(vectors)


@pytest.mark.parametrize(("kind", "tolerance"), [("exact", 0), ("ivf_pq", 1e-3)])
def test_vectors_of_a_row_are_those_that_were_added(kind: str, tolerance: float, vectors: np.ndarray) -> None:
    np.testing.assert_allclose(built(kind, vectors).vectors(310, 20), vectors[310:330], atol=tolerance)


def test_more_hits_than_vectors(vectors: np.ndarray) -> None:
    index = built("exact", vectors[:3])
    assert sorted(index.search(vectors[:1], 10)[1][0]) == [0, 1, 2]
    assert [part.shape for part in VectorIndex(WIDTH).search(vectors[:2], 5)] == [(2, 0), (2, 0)]
    assert [part.shape for part in index.search(vectors[:0], 2)] == [(0, 2), (0, 2)]
    with pytest.raises(UserError, match="k=0"):
        index.search(vectors[:1], 0)


def test_missing_results_of_an_approximate_search_are_marked(vectors: np.ndarray) -> None:
    index = built("ivf_pq", np.tile(vectors, (20, 1)))
    scores, rows = index.search(vectors[:1], len(index))
    assert (rows[0] < 0).any()
    assert np.isneginf(scores[rows < 0]).all()
    assert np.isfinite(scores[rows >= 0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 7.0])
def test_vectors_not_of_length_1_are_refused(bad: float, vectors: np.ndarray) -> None:
    wrong = vectors[:4].copy()
    wrong[2] = bad
    for use in (VectorIndex(WIDTH).add, lambda queries: built("exact", vectors).search(queries, 1)):
        with pytest.raises(UserError, match="1 of 4 vectors are not of length 1, the first is 2"):
            use(wrong)


def test_wrong_arguments_are_errors(vectors: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index=hnsw: unknown; choose one of exact, ivf_pq"):
        VectorIndex(WIDTH, "hnsw")
    with pytest.raises(UserError, match=r"\(4, 23\)"):
        VectorIndex(WIDTH).add(vectors[:4, :23])
    with pytest.raises(UserError, match="at least 624"):
        VectorIndex(WIDTH, "ivf_pq").train(vectors[:100])
    with pytest.raises(UserError, match="no such file"):
        VectorIndex.load(tmp_path / "absent.faiss")
    with pytest.raises(UserError, match="name an index file"):
        VectorIndex.load(tmp_path)


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused(kind: str, memory_map: bool, vectors: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "frames.faiss"
    built(kind, vectors).save(path)
    whole = path.read_bytes()
    more_than_it_holds = whole[:8] + (10**12).to_bytes(8, "little") + whole[16:]
    other_width = whole[:4] + (WIDTH * 2).to_bytes(4, "little") + whole[8:]
    for data in (b"", b"IxFI", b"not an index" * 99, whole[:-100], whole[:500], more_than_it_holds, other_width):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"not an index of this program, or damaged"):
            VectorIndex.load(path, memory_map)


def test_other_indexes_of_faiss_are_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "frames.faiss"
    for name in ("SQ8", "HNSW8_SQ8", "PQ4x4fs,Refine(SQfp16)"):
        index = faiss.index_factory(WIDTH, name, faiss.METRIC_L2)
        index.train(vectors)
        faiss.write_index(index, str(path))
        with pytest.raises(UserError, match="not an index of this program"):
            VectorIndex.load(path)


def test_a_full_disk_keeps_the_old_index(vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames.faiss"
    built("exact", vectors[:9]).save(path)

    def full(self: Path, mode: str) -> object:
        return open("/dev/full", mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match="No space left"):
        built("exact", vectors).save(path)
    monkeypatch.undo()
    assert len(VectorIndex.load(path)) == 9


def test_a_gpu_is_used_for_the_exact_kind(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    index = built("exact", vectors[:30])
    copies = []

    def copy(resources: object, device: int, original: faiss.Index) -> faiss.Index:
        copies.append(original.ntotal)
        return faiss.clone_index(original)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copy, raising=False)
    for _ in range(2):
        index.search(vectors[:1], 1)
    index.add(vectors[30:])
    assert index.search(vectors[[700]], 1)[1].tolist() == [[700]]
    assert copies == [30, len(vectors)]
