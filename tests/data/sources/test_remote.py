"""Videos in a bucket: copies, captions beside them, names that would lead elsewhere, and addresses without a file."""

import os
from pathlib import Path

import boto3
import pytest
import torch

from lightning_inr.data.captioned.folder import list_folder
from lightning_inr.data.captioned.split import Segment
from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.remote import local_copy, remove_copy
from lightning_inr.errors import UserError
from lightning_inr.paths import cache_dir
from lightning_inr.storage import Folder, open_folder
from tests.conftest import moving_square, write_mp4
from tests.servers import BUCKET, S3Server

ROOT = f"s3://{BUCKET}/my videos"


@pytest.fixture
def bucket(store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A bucket with videos of different lengths and files of captions."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = open_folder(ROOT, "collection")
    for name, frames in {"one.mp4": 3, "deep/two [x] 100%.mkv": 5}.items():
        folder.write(name, write_mp4(tmp_path / f"draft{Path(name).suffix}", moving_square(frames)).read_bytes())
    return folder


def copies() -> list[Path]:
    return [path for path in (cache_dir() / "videos").rglob("*") if path.is_file()]


def test_a_video_in_a_bucket_is_that_on_disk(bucket: Folder, tmp_path: Path) -> None:
    source = open_source(f"{ROOT}/deep/two [x] 100%.mkv")
    (tmp_path / "here.mkv").write_bytes(bucket.read("deep/two [x] 100%.mkv"))
    here = open_source(str(tmp_path / "here.mkv"))
    assert source.shape == here.shape
    assert torch.equal(source.read(4), here.read(4))


def test_a_copy_is_used_again_until_the_file_changes(bucket: Folder, store: S3Server, tmp_path: Path) -> None:
    address = f"{ROOT}/one.mp4"
    copy = local_copy(address, "dataset.path")
    assert local_copy(address, "dataset.path") == copy
    assert copies() == [copy]
    bucket.write("one.mp4", write_mp4(tmp_path / "new.mp4", moving_square(4)).read_bytes())
    assert open_source(address).frames == 4
    assert [path.name for path in copies()] == ["one.mp4"]
    remove_copy(address)
    remove_copy(address)
    assert copies() == []


def test_a_folder_in_a_bucket_is_listed_with_its_captions(bucket: Folder) -> None:
    bucket.write("one.txt", b"a red square\n")
    bucket.write("deep/two [x] 100%.srt", b"1\n00:00:01,000 --> 00:00:02,000\nit moves\n")
    bucket.write("captions.csv", b"video,caption\none.mp4,it is red\nlost.mp4,nothing\n")
    bucket.write(".hidden.mp4", b"")
    listing = list_folder(ROOT)
    two, one = listing.videos
    assert (one.id, one.location, one.captions) == ("one.mp4", f"{ROOT}/one.mp4", ("a red square", "it is red"))
    assert (two.id, two.segments) == ("deep__two [x] 100%.mkv", (Segment(1.0, 2.0, "it moves"),))
    assert listing.missing == ("lost.mp4",)
    assert copies() == []


def test_a_table_in_a_bucket_is_named_in_errors(bucket: Folder) -> None:
    bucket.write("mine.csv", b"video,caption\nother.mp4,a\n")
    with pytest.raises(UserError, match=r"^s3://videos/my videos/mine.csv, line 2: neither other.mp4 nor another"):
        list_folder(ROOT, "mine.csv")


def test_names_in_a_bucket_lead_nowhere_else(bucket: Folder, store: S3Server, tmp_path: Path) -> None:
    client = boto3.client("s3", endpoint_url=store.endpoint)
    client.put_object(Bucket=BUCKET, Key="my videos/../../evil.txt", Body=b"evil")
    assert len(list_folder(ROOT).videos) == 2
    assert not list(tmp_path.parent.rglob("evil.txt"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{ROOT}/three.mp4", "dataset.path=s3://videos/my videos/three.mp4: no such file, or no server answers"),
        ("s3://videos", "dataset.path=s3://videos: no name of a file"),
        ("s3://videos/..", "no name of a file"),
        ("s3://nowhere/a.mp4", "no such file, or no server answers; check the address"),
        ("s3://me:secret@videos/a.mp4", r"dataset.path=s3://\*\*\*@videos: a URL with credentials would be recorded"),
    ],
)
def test_addresses_without_a_video(bucket: Folder, path: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        open_source(path)
    assert copies() == []


def test_a_bucket_without_videos(store: S3Server) -> None:
    with pytest.raises(UserError, match="root=s3://videos/empty: no video there"):
        list_folder(f"s3://{BUCKET}/empty")


def test_a_full_disk_leaves_no_half_copy(bucket: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("lightning_inr.storage.RemoteFolder.download", full)
    with pytest.raises(UserError, match="No space left on device"):
        local_copy(f"{ROOT}/one.mp4", "dataset.path")
    assert copies() == []
