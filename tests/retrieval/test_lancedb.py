"""The index in LanceDB: the same results as FAISS, kept up to date, built again where it is damaged."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from lightning_inr.errors import UserError
from lightning_inr.retrieval import gallery, lance_index, shards
from lightning_inr.retrieval.collection import Record, write_manifest
from lightning_inr.retrieval.index import METRIC
from lightning_inr.retrieval.indexed_files import IndexedFile
from lightning_inr.retrieval.lance_index import LanceIndex, LanceStore, open_lance
from lightning_inr.retrieval.query import OpenCollection, frame_scores, open_collection, search_collection
from lightning_inr.retrieval.shards import Shard
from lightning_inr.retrieval.stored_index import IndexOptions
from lightning_inr.types import EmbeddingSpace
from tests.conftest import Outcome
from tests.retrieval.conftest import FRAMES, Recorded, add_video

LANCE = IndexOptions("lancedb")
WIDTH = 16


def hits(collection: OpenCollection, query: np.ndarray, k: int = 7) -> list[tuple[str, int, float]]:
    """Id, frame and score of the best frames."""
    found = search_collection(collection, query, k, per="frame")
    return [(hit.record.id, hit.frame, round(hit.score, 4)) for hit in found]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four files fill a shard."""
    monkeypatch.setattr(shards, "SHARD_FRAMES", 4 * FRAMES)


def test_a_table_has_the_results_of_the_exact_index(videos: list[Record], tmp_path: Path) -> None:
    exact, opened = open_collection(tmp_path), open_collection(tmp_path, LANCE)
    assert isinstance(opened.vectors, LanceIndex)
    for record in videos:
        query = exact.vectors.vectors(exact.rows.of_video(videos.index(record)).start + 3, 1)[0]
        assert hits(opened, query) == hits(exact, query)
        np.testing.assert_allclose(frame_scores(opened, record, query), frame_scores(exact, record, query), atol=1e-5)
    assert len(hits(opened, query, k=1000)) == len(opened.vectors) == 30


def test_only_new_and_changed_files_are_read(
    videos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_collection(tmp_path, LANCE)
    monkeypatch.setattr(gallery, "read_embeddings", (recorded := Recorded()))
    read = recorded.names
    open_collection(tmp_path, LANCE)
    assert read == []
    write_manifest(tmp_path, [*videos, add_video(tmp_path, 6)])
    assert len(open_collection(tmp_path, LANCE).vectors) == 35
    assert read == ["v6"]
    shutil.copy(tmp_path / "v0.linr", tmp_path / "v6.linr")
    changed = open_collection(tmp_path, LANCE)
    query = changed.vectors.vectors(changed.rows.of_video(0).start, 1)[0]
    assert {hit[:2] for hit in hits(changed, query, k=2)} == {("v0", 0), ("v6", 0)}
    assert len(changed.vectors) == 35


@pytest.mark.parametrize("damage", ["_versions", "frames.lance"])
def test_a_damaged_table_is_built_again(damage: str, videos: list[Record], tmp_path: Path) -> None:
    query = open_collection(tmp_path, LANCE).vectors.vectors(3, 1)[0]
    expected = hits(open_collection(tmp_path, LANCE), query)
    folder = tmp_path / "index" / "lancedb"
    shutil.rmtree(next(folder.rglob(damage)))
    assert hits(open_collection(tmp_path, LANCE), query) == expected


def test_a_table_without_its_data_is_one_line(videos: list[Record], tmp_path: Path) -> None:
    opened = open_collection(tmp_path, LANCE)
    query = opened.vectors.vectors(3, 1)[0]
    shutil.rmtree(tmp_path / "index" / "lancedb" / "frames.lance" / "data")
    with pytest.raises(UserError, match=r"index=.*lancedb: .*remove it, and it is built again") as raised:
        hits(open_collection(tmp_path, LANCE), query)
    assert "\n" not in str(raised.value)


def test_rows_of_an_interrupted_build_are_dropped(videos: list[Record], tmp_path: Path) -> None:
    query = open_collection(tmp_path, LANCE).vectors.vectors(3, 1)[0]
    expected = hits(open_collection(tmp_path, LANCE), query)
    next((tmp_path / "index" / "lancedb" / "shards").glob("*.json")).unlink()  # added, but not described
    again = open_collection(tmp_path, LANCE)
    assert hits(again, query) == expected
    assert len(again.vectors) == 30


def test_inverted_lists_find_what_an_exact_search_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_index, "LEAST_ROWS", 2000)
    random = np.random.default_rng(0)
    steps = random.standard_normal((100, 20, WIDTH))
    steps[:, 1:] *= 0.1
    walks = steps.cumsum(1).reshape(-1, WIDTH)
    vectors = (walks / np.linalg.norm(walks, axis=1, keepdims=True)).astype(np.float32)
    store = LanceStore(tmp_path / "table", tmp_path)
    for number, part in enumerate(np.split(vectors, 2)):
        (tmp_path / "rows").write_bytes(part.tobytes())
        files = (IndexedFile(f"{number}.linr", 1, 1, len(part)),)
        store.add_shard(Shard(f"{number}{15 * '8'}", EmbeddingSpace("a", "b", WIDTH), files, 0), tmp_path / "rows")
    index = open_lance(store, store.read_shards(), exact=False)
    assert {each.index_type for each in store.table.list_indices()} == {"BTree", "IvfPq"}
    scores, rows = index.search(vectors[::37], 10)
    expected, nearest = faiss.knn(vectors[::37], vectors, 10, metric=METRIC)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, nearest, strict=True)]) > 0.95
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    np.testing.assert_array_equal(index.vectors(990, 20), vectors[990:1010])
    everything = LanceIndex(store, store.read_shards(), exact=True)
    np.testing.assert_array_equal(everything.search(vectors[::37], 10)[1], nearest)


def test_the_table_is_where_its_address_says(videos: list[Record], tmp_path: Path) -> None:
    open_collection(tmp_path, IndexOptions("lancedb", address=str(tmp_path / "elsewhere")))
    assert (tmp_path / "elsewhere" / "frames.lance").is_dir()
    assert not (tmp_path / "index").exists()


def test_without_the_package_its_extra_is_named(
    cli: Callable[..., Outcome], collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "lightning_inr.retrieval.lance_index")
    monkeypatch.setitem(sys.modules, "lancedb", None)
    error = cli("task=search", "collection=collection", "query=a ball", "index=lancedb").error
    assert "lancedb is not installed; pip install 'lightning_inr[lancedb]'" in error
