"""Indexes in shards: the same results as one file's, continued after an interruption, rebuilt where damaged."""

import os
import shutil
import zlib
from pathlib import Path

import faiss
import numpy as np
import pytest

from lightning_inr.errors import UserError
from lightning_inr.retrieval import gallery, sharded_index, shards
from lightning_inr.retrieval.collection import Record, write_manifest
from lightning_inr.retrieval.index import METRIC
from lightning_inr.retrieval.indexed_files import IndexedFile
from lightning_inr.retrieval.query import OpenCollection, frame_scores, open_collection, search_collection
from lightning_inr.retrieval.sharded_index import ShardedIndex, ShardFiles, open_sharded
from lightning_inr.retrieval.shards import Shard, cut_into_shards, run_tasks
from lightning_inr.retrieval.stored_index import IndexOptions
from lightning_inr.types import EmbeddingSpace
from tests.retrieval.conftest import FRAMES, Recorded, add_video

WIDTH = 16
NAMES = [digit * 16 for digit in "135"]  # of shards


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files fill a shard."""
    monkeypatch.setattr(shards, "SHARD_FRAMES", 2 * FRAMES)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from now on."""
    monkeypatch.setattr(gallery, "read_embeddings", (recorded := Recorded()))
    return recorded.names


def hits(collection: OpenCollection, query: np.ndarray, k: int = 7) -> list[tuple[str, int, float]]:
    """Id, frame and score of the best frames."""
    found = search_collection(collection, query, k, per="frame")
    return [(hit.record.id, hit.frame, round(hit.score, 5)) for hit in found]


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_have_the_results_of_one_file(
    workers: int, videos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_collection(tmp_path)
    query = whole.vectors.vectors(12, 1)[0]
    monkeypatch.setattr(shards, "SHARD_FRAMES", 2 * FRAMES)
    opened = open_collection(tmp_path, IndexOptions(workers=workers))
    assert isinstance(opened.vectors, ShardedIndex)
    assert len(opened.vectors.shards) == 3
    assert hits(opened, query) == hits(whole, query)
    assert len(hits(opened, query, k=1000)) == 30
    for record in videos:
        np.testing.assert_allclose(frame_scores(opened, record, query), frame_scores(whole, record, query), atol=1e-6)
    with pytest.raises(UserError, match="k=0"):
        search_collection(opened, query, 0)


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_build_continues(
    videos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    original = gallery.embed_videos

    def interrupted(*arguments: object) -> object:
        if len(read) > 3:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "embed_videos", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_collection(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "SHARD_FRAMES", 2 * FRAMES)
    monkeypatch.setattr(gallery, "read_embeddings", (again := Recorded()))
    assert len(open_collection(tmp_path).vectors) == 30
    assert again.names == ["v4", "v5"]
    assert not list((tmp_path / "index" / "exact").glob("*.rows"))


@pytest.mark.usefixtures("small_shards")
def test_only_shards_of_changed_files_are_built_again(videos: list[Record], tmp_path: Path, read: list[str]) -> None:
    first = open_collection(tmp_path)
    query = first.vectors.vectors(first.rows.of_video(0).start, 1)[0]
    read.clear()
    open_collection(tmp_path)
    assert read == []
    write_manifest(tmp_path, [*videos, add_video(tmp_path, 6)])
    assert len(open_collection(tmp_path).vectors) == 35
    assert read == ["v6"]
    read.clear()
    shutil.copy(tmp_path / "v0.linr", tmp_path / "v3.linr")
    grown = open_collection(tmp_path)
    assert sorted(set(read)) == ["v2", "v3"]
    assert len(grown.vectors) == 35
    assert {hit[:2] for hit in hits(grown, query, k=2)} == {("v0", 0), ("v3", 0)}
    (tmp_path / "v1.linr").unlink()
    without = open_collection(tmp_path)
    assert "v1" in without.left_out
    assert len(without.vectors) == 30


@pytest.mark.usefixtures("small_shards")
def test_damaged_shards_are_built_again(videos: list[Record], tmp_path: Path, read: list[str]) -> None:
    query = open_collection(tmp_path).vectors.vectors(0, 1)[0]
    expected = hits(open_collection(tmp_path), query)
    folder = tmp_path / "index" / "exact"
    rows, notes = sorted(folder.glob("*.vectors")), sorted(folder.glob("*.json"))
    damaged = bytearray(rows[0].read_bytes())
    damaged[7] ^= 255
    for target, data in ((rows[0], damaged), (rows[1], b"short"), (notes[2], b'{"name": 1}'), (notes[0], b"[")):
        target.write_bytes(data)
        read.clear()
        assert hits(open_collection(tmp_path), query) == expected
        assert 2 <= len(read) <= 3  # of one shard; the first is read for its teacher where no other is left


@pytest.mark.usefixtures("small_shards")
def test_small_shards_are_joined(videos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_PARTIAL", 1)
    monkeypatch.setattr(shards, "SHARD_FRAMES", 5 * FRAMES)
    opened = open_collection(tmp_path)
    for number in (6, 7):
        videos.append(add_video(tmp_path, number))
        write_manifest(tmp_path, videos)
        opened = open_collection(tmp_path)
    assert isinstance(opened.vectors, ShardedIndex)
    assert sorted(map(len, opened.vectors.shards)) == [15, 25]


@pytest.mark.usefixtures("small_shards")
def test_two_teachers_in_two_shards_are_an_error(videos: list[Record], tmp_path: Path) -> None:
    add_video(tmp_path, 5, EmbeddingSpace("other", "02", 6))
    with pytest.raises(UserError, match=r"v5.linr is in the embedding space of other.*use the same teacher"):
        open_collection(tmp_path)


def test_a_shard_has_one_file_at_least(videos: list[Record], small_shards: None) -> None:
    lengths = (4, 30, 6, 4, 1)
    records = [record._replace(frames=length) for record, length in zip(videos, lengths, strict=False)]
    assert [[record.frames for record in part] for part in cut_into_shards(records)] == [[4], [30], [6, 4], [1]]
    assert cut_into_shards([]) == []


def die(number: int) -> int:
    """A task whose process ends."""
    if number:
        os._exit(9)
    return number


def test_a_process_that_dies_is_one_line() -> None:
    with pytest.raises(UserError, match=r"index.workers=2: a process .* died.*run the same command again") as raised:
        list(run_tasks(die, [0, 1, 1], 2, "index"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_wrong_options_are_errors(workers: int) -> None:
    with pytest.raises(UserError, match=f"index.workers={workers}: choose a whole number from 1"):
        IndexOptions(workers=workers)
    with pytest.raises(UserError, match="index=best: unknown; choose one of exact, ivf_pq, lancedb"):
        IndexOptions("best")


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Five hundred videos of twenty frames in random walks about a centre."""
    random = np.random.default_rng(0)
    steps = random.standard_normal((500, 20, WIDTH))
    steps[:, 1:] *= 0.1
    walks = steps.cumsum(1).reshape(-1, WIDTH)
    return (walks / np.linalg.norm(walks, axis=1, keepdims=True)).astype(np.float32)


def store_shard(files: ShardFiles, name: str, rows: np.ndarray) -> None:
    """Add rows as one shard of a store."""
    data = rows.astype(files.number).tobytes()
    files.drafts.mkdir(parents=True, exist_ok=True)
    (files.drafts / "some.rows").write_bytes(data)
    indexed = (IndexedFile(f"{name}.linr", 1, 1, len(rows)),)
    files.add_shard(Shard(name, EmbeddingSpace("a", "b", WIDTH), indexed, zlib.crc32(data)), files.drafts / "some.rows")


@pytest.fixture(scope="module")
def stored(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An "ivf_pq" of two shards; read only."""
    folder = tmp_path_factory.mktemp("lists")
    files = ShardFiles(folder, "ivf_pq")
    for name, part in ((NAMES[0], vectors[:6000]), (NAMES[1], vectors[6000:])):
        store_shard(files, name, part)
    opened(files)
    return folder


def opened(files: ShardFiles) -> ShardedIndex:
    """The index of all shards of a store."""
    return open_sharded(files, "ivf_pq", sorted(files.read_shards()), 1)


@pytest.fixture
def files(stored: Path, tmp_path: Path) -> ShardFiles:
    """A copy of `stored` that a test may change."""
    return ShardFiles(shutil.copytree(stored, tmp_path / "copy"), "ivf_pq")


def test_merged_lists_find_what_an_exact_search_finds(
    stored: Path, vectors: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    index = opened(ShardFiles(stored, "ivf_pq"))
    scores, rows = index.search(vectors[::97], 10)
    expected, nearest = faiss.knn(vectors[::97], vectors, 10, metric=METRIC)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, nearest, strict=True)]) > 0.95
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    np.testing.assert_allclose(index.vectors(5990, 20), vectors[5990:6010], atol=1e-3)
    assert index.search(vectors[:1], 20_000)[1].shape == (1, len(vectors))
    assert capfd.readouterr().out == ""


def test_an_index_that_was_moved_is_merged_again(files: ShardFiles, vectors: np.ndarray) -> None:
    trained = (files.drafts / "trained.faiss").read_bytes()
    codes = {path: path.stat().st_mtime_ns for path in files.drafts.glob("*.codes")}
    assert opened(files).search(vectors[[9000]], 1)[1].tolist() == [[9000]]
    assert (files.drafts / "trained.faiss").read_bytes() == trained
    assert codes == {path: path.stat().st_mtime_ns for path in files.drafts.glob("*.codes")}


def test_a_new_shard_is_merged_with_the_others(files: ShardFiles, vectors: np.ndarray) -> None:
    before = {path.name for path in files.drafts.glob("*.codes")}
    store_shard(files, NAMES[2], -vectors[:50])
    assert opened(files).search(-vectors[[7]], 1)[1].tolist() == [[len(vectors) + 7]]
    assert {path.name for path in files.drafts.glob("*.codes")} > before
    files.remove_shard(sorted(files.read_shards())[0])
    assert len(opened(files)) == 4050
    assert len(list(files.drafts.glob("merged-*.faiss"))) == 1


@pytest.mark.parametrize("name", ["trained.faiss", "1*.codes", "merged-*.faiss", "merged-*.lists"])
@pytest.mark.parametrize("damage", [b"", b"no index at all", None])
def test_damaged_lists_are_built_again(
    name: str, damage: bytes | None, files: ShardFiles, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (files.drafts / "trained.faiss").read_bytes()

    def trained(index: ShardedIndex) -> faiss.Index:
        return faiss.deserialize_index(np.frombuffer(whole, np.uint8))

    monkeypatch.setattr(sharded_index, "train_lists", trained)  # which takes seconds
    opened(files)  # merged in its place
    [path] = files.drafts.glob(name)
    if name.endswith(".codes"):
        next(files.drafts.glob("merged-*.faiss")).unlink()
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    assert opened(files).search(vectors[[9000]], 1)[1].tolist() == [[9000]]


def test_too_few_vectors_for_lists_are_an_error(vectors: np.ndarray, tmp_path: Path) -> None:
    files = ShardFiles(tmp_path, "ivf_pq")
    store_shard(files, NAMES[0], vectors[:50])
    with pytest.raises(UserError, match=r"index=ivf_pq: 50 vectors, at least 9984 needed; choose exact"):
        opened(files)
