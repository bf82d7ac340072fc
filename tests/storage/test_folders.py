"""Folders on disk, in memory and in a bucket behave alike; stores that fail, are slow, or refuse."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_inr.errors import UserError
from lightning_inr.storage import Folder, LocalFolder, RemoteFolder, open_folder, remote
from tests.servers import BUCKET, S3Server


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "s3":
        request.getfixturevalue("store")
    places: dict[str, str | Path] = {
        "disk": tmp_path / "a b",
        "memory": f"memory://{tmp_path.name}",
        "s3": f"s3://{BUCKET}/a b",
    }
    return open_folder(places.get(request.param, tmp_path / "a b"), "collection")


@pytest.fixture
def bucket(store: S3Server) -> Folder:
    return open_folder(f"s3://{BUCKET}/folder", "collection")


def test_a_file_is_read_as_it_was_written(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("records/a.json")
    assert folder.stamp("records/a.json") is None
    folder.write("records/a.json", b"one")
    assert folder.read("records/a.json") == b"one"
    folder.write("records/a.json", b"0123456789")
    assert folder.ranges("records/a.json")[2:5] == b"234"
    folder.remove("records/a.json")
    folder.remove("records/a.json")
    with pytest.raises(FileNotFoundError):
        folder.read("records/a.json")


def test_names_are_those_of_one_level(folder: Folder) -> None:
    assert list(folder.names("records/")) == []
    for name in ("config.yaml", "a[1].linr", "records/b.json", "records/a.json", "records/a.claim"):
        folder.write(name, name.encode())
    assert [each.name for each in folder.names()] == ["a[1].linr", "config.yaml"]
    assert [each.name for each in folder.names("records/a")] == ["records/a.claim", "records/a.json"]
    assert {each.size for each in folder.names("c")} == {len("config.yaml")}
    assert next(folder.names("records/b")).stamp == folder.stamp("records/b.json")


def test_files_of_any_depth_are_listed_and_copied(folder: Folder, tmp_path: Path) -> None:
    if not isinstance(folder, RemoteFolder):
        return
    assert folder.walk() == []
    for name in ("b.mp4", "a/[1] *.mp4", "a/b/c.txt"):
        folder.write(name, name.encode())
    assert folder.walk() == ["a/[1] *.mp4", "a/b/c.txt", "b.mp4"]
    folder.download({"a/[1] *.mp4": tmp_path / "one", "b.mp4": tmp_path / "two"})
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == ["a/[1] *.mp4", "b.mp4"]
    with pytest.raises(FileNotFoundError):
        folder.download({"lost.mp4": tmp_path / "three"})


def test_one_of_two_creates_a_file(folder: Folder) -> None:
    assert folder.create("claim", b"first")
    assert not folder.create("claim", b"second")
    assert folder.read("claim") == b"first"
    if isinstance(folder, LocalFolder):
        assert os.listdir(folder.path) == ["claim"]


def test_a_file_is_replaced_if_nobody_has_changed_it(folder: Folder) -> None:
    folder.write("claim", b"one")
    stamp = folder.stamp("claim")
    assert stamp is not None
    assert folder.replace("claim", b"three", stamp)
    assert not folder.replace("claim", b"two", stamp)
    assert folder.read("claim") == b"three"
    assert not folder.replace("absent", b"two", stamp)


def test_one_of_many_threads_creates_a_file_in_a_bucket(bucket: Folder) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: bucket.create("claim", b"%d" % number), range(8)))
    assert created.count(True) == 1
    assert bucket.read("claim") == b"%d" % created.index(True)


def test_names_beyond_a_page(bucket: Folder, store: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    for number in range(8):
        bucket.write(f"records/{number}", b"")
    assert [each.name for each in bucket.names("records/")] == [f"records/{number}" for number in range(8)]


def test_a_store_that_fails_one_call_in_three_loses_nothing(
    bucket: Folder, store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a call had its effect and only the answer was lost."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    store.fail_every = 3
    for number in range(12):
        name, data = f"records/{number:02}", b"%d" % number
        assert bucket.create(name, data)
        assert not bucket.create(name, b"other")
        stamp = bucket.stamp(name)
        assert stamp is not None
        assert bucket.replace(name, data * 2, stamp)
        assert bucket.read(name) == data * 2
    assert len(list(bucket.names("records/"))) == 12


def test_a_store_that_always_fails_is_one_line(
    bucket: Folder, store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    store.fail_every, before = 1, store.calls
    with pytest.raises(UserError, match=r"^collection=s3://videos/folder/a: .*; check the address") as raised:
        bucket.read("a")
    assert "\n" not in str(raised.value)
    assert store.calls - before == remote.TRIES


def test_a_refusal_is_one_line_at_once(bucket: Folder, store: S3Server) -> None:
    store.read_only, before = True, store.calls
    with pytest.raises(
        UserError, match=r"^collection=s3://videos/folder/a: AccessDenied; these credentials may not write"
    ):
        bucket.write("a", b"")
    assert store.calls == before + 1


def test_a_missing_bucket_is_one_line(store: S3Server) -> None:
    for call in (lambda each: each.read("a"), lambda each: each.write("a", b""), lambda each: list(each.names())):
        with pytest.raises(UserError, match=r"collection=s3://nowhere.*create the bucket"):
            call(open_folder("s3://nowhere", "collection"))


@pytest.mark.parametrize(
    "address", ["s3://USER:hidden@videos/a", "https://host/a?X-Amz-Signature=hidden", "s3://USER@v"]
)
def test_credentials_in_an_address_are_refused_and_not_shown(address: str) -> None:
    with pytest.raises(UserError, match=r"\*\*\*.*set them in the environment") as raised:
        open_folder(address, "collection")
    assert "hidden" not in str(raised.value)
    assert "USER" not in str(raised.value)


def test_an_unknown_protocol_is_one_line() -> None:
    with pytest.raises(UserError, match=r"collection=nowhere://a: .*nowhere"):
        open_folder("nowhere://a", "collection")
