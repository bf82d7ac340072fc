"""Collections in a bucket: read by ranges, with the index beside them, or in a cache where it cannot be written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import boto3
import numpy as np
import pytest

from lightning_inr.codec.container import unpack
from lightning_inr.errors import UserError
from lightning_inr.ranges import FileRanges
from lightning_inr.retrieval import shards
from lightning_inr.retrieval.collection import Record
from lightning_inr.retrieval.gallery import SEMANTIC_ROLES, read_embeddings
from lightning_inr.retrieval.query import OpenCollection, open_collection, search_collection
from tests.conftest import Outcome
from tests.retrieval.conftest import FRAMES
from tests.servers import BUCKET, S3Server

ADDRESS = f"s3://{BUCKET}/mine"
KINDS = ("exact", "lancedb")


def upload(folder: Path) -> None:
    """Put the files of a collection into the bucket."""
    client = boto3.client("s3")
    for path in [*folder.glob("*.linr"), *folder.glob("collection.parquet"), *folder.glob("config.yaml")]:
        client.put_object(Bucket=BUCKET, Key=f"mine/{path.name}", Body=path.read_bytes())


def keys() -> set[str]:
    """The names of all objects."""
    return {each["Key"] for each in boto3.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", ())}


def hits(collection: OpenCollection, query: np.ndarray) -> list[tuple[str, int, float]]:
    """Id, frame and score of the best frames."""
    found = search_collection(collection, query, 7, per="frame")
    return [(hit.record.id, hit.frame, round(hit.score, 4)) for hit in found]


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each range that is read from now on."""
    read: list[int] = []
    original = FileRanges._read

    def counted(self: FileRanges, start: int, stop: int | None) -> bytes:
        data = original(self, start, stop)
        read.append(len(data))
        return data

    monkeypatch.setattr(FileRanges, "_read", counted)
    return read


@pytest.mark.parametrize("remote", [False, True])
def test_only_header_and_latents_are_read(
    remote: bool, videos: list[Record], tmp_path: Path, store: S3Server, bytes_read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("lightning_inr.ranges.FIRST_READ", 512)  # these files are smaller than what is read first
    upload(tmp_path)
    path = tmp_path / videos[0].path
    lengths = unpack(path.read_bytes()).lengths
    header = path.stat().st_size - sum(lengths.values())
    needed = header + sum(lengths.get(role, 0) for role in SEMANTIC_ROLES)
    bytes_read.clear()
    assert read_embeddings(f"{ADDRESS}/{path.name}" if remote else path) is not None
    assert needed <= sum(bytes_read) <= needed + 2 * 512 + header
    assert sum(bytes_read) < path.stat().st_size - lengths["base"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_is_searched_as_a_folder_is(
    kind: str, videos: list[Record], tmp_path: Path, store: S3Server, bytes_read: list[int]
) -> None:
    upload(tmp_path)
    local = open_collection(tmp_path)
    query = local.vectors.vectors(8, 1)[0]
    assert hits(open_collection(ADDRESS, kind), query) == hits(local, query)
    assert any(name.startswith(f"mine/index/{kind}/") for name in keys())
    shutil.rmtree(tmp_path / ".cache", ignore_errors=True)  # another machine
    bytes_read.clear()
    store.writes.clear()
    again = open_collection(ADDRESS, kind)
    assert not [size for size in bytes_read if size == (tmp_path / videos[0].path).stat().st_size]  # no .linr file
    assert hits(again, query) == hits(local, query)
    assert store.writes == []


def test_shards_are_kept_in_the_bucket(
    videos: list[Record], tmp_path: Path, store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_FRAMES", 2 * FRAMES)
    upload(tmp_path)
    opened = open_collection(ADDRESS)
    query = opened.vectors.vectors(opened.rows.of_video(1).start + 3, 1)[0]
    first = {name for name in keys() if name.endswith(".vectors")}
    assert len(first) == 3
    boto3.client("s3").put_object(Bucket=BUCKET, Key="mine/v0.linr", Body=(tmp_path / "v1.linr").read_bytes())
    changed = open_collection(ADDRESS)
    assert {hit[:2] for hit in hits(changed, query)[:2]} == {("v0", 3), ("v1", 3)}
    assert len({name for name in keys() if name.endswith(".vectors")} & first) == 2
    assert len({name for name in keys() if name.endswith(".vectors")}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_without_permission_to_write_the_index_is_in_a_cache(
    kind: str, videos: list[Record], tmp_path: Path, store: S3Server
) -> None:
    upload(tmp_path)
    before = keys()
    store.read_only = True
    local = open_collection(tmp_path)
    query = local.vectors.vectors(8, 1)[0]
    with pytest.warns(UserWarning, match=r"the index is kept in .*\.cache|its index is kept in .*\.cache"):
        opened = open_collection(ADDRESS, kind)
    assert hits(opened, query) == hits(local, query)
    assert keys() == before
    store.read_only = False


def test_a_bucket_without_a_collection_is_one_line(store: S3Server) -> None:
    with pytest.raises(UserError, match=rf"collection={ADDRESS}: no collection.parquet there; name a folder written"):
        open_collection(ADDRESS)
    with pytest.raises(UserError, match="collection=s3://nowhere/mine") as raised:
        open_collection("s3://nowhere/mine")
    assert "\n" not in str(raised.value)


def test_the_command_searches_a_bucket(cli: Callable[..., Outcome], collection: Path, store: S3Server) -> None:
    upload(collection)
    local = cli("task=search", "collection=collection", "query=a red ball rolls left", "teacher=shapes",
                "teacher.weights=clip")  # fmt: skip
    assert local.code == 0, local.err
    remote = cli("task=search", f"collection={ADDRESS}", "query=a red ball rolls left")
    assert remote.code == 0, remote.err
    assert remote.out == local.out


def test_an_evaluation_of_a_bucket_is_that_of_a_folder(
    cli: Callable[..., Outcome], collection: Path, store: S3Server
) -> None:
    upload(collection)
    options = ["task=evaluate_retrieval", "retrieval.protocols=[class]", "feature_cache=features"]
    for name, address in {"here": "collection", "there": ADDRESS}.items():
        outcome = cli(*options, f"collection={address}", f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    here, there = (json.loads(Path(f"{name}/result.json").read_text())["retrieval"] for name in ("here", "there"))
    assert [row["method"] for row in here] == [
        "CLIP, true frames",
        "CLIP, decoded frames",
        "our latents",
        "random latents",
    ]
    assert there == here
