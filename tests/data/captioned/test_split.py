"""Listings of captioned videos: the files they find, and opening by id."""

from pathlib import Path

import pytest

from lightning_inr.data.captioned.split import CaptionedVideo, DatasetSplit, find_videos, list_found, open_captioned
from lightning_inr.errors import UserError
from tests.conftest import moving_square, write_mp4


def touch(*paths: Path) -> None:
    """Create empty files: a listing reads only names."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def annotated(*ids: str) -> list[CaptionedVideo]:
    return [CaptionedVideo(id, Path(), captions=(f"about {id}",)) for id in ids]


def test_videos_lie_anywhere_and_one_of_several_forms_is_chosen(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(
        root / "a.webm", root / "z" / "a.mp4", root / "b.MKV", root / "notes.txt", root / ".b.mp4", elsewhere / "c.mp4"
    )
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert find_videos(root) == {"a": root / "z" / "a.mp4", "b": root / "b.MKV", "c": root / "linked" / "c.mp4"}


def test_annotated_videos_that_are_not_on_disk_are_counted(tmp_path: Path) -> None:
    listing = list_found("some test", annotated("x", "y", "z"), {"z": tmp_path / "z.mp4", "other": tmp_path})
    assert [(video.id, video.path, video.captions) for video in listing.videos] == [
        ("z", tmp_path / "z.mp4", ("about z",))
    ]
    assert (listing.name, listing.missing) == ("some test", ("x", "y"))


def test_nothing_on_disk_and_nothing_listed_are_different_errors() -> None:
    with pytest.raises(UserError, match=r"some test: none of its 2 videos is on disk; check dataset.listing.root"):
        list_found("some test", annotated("x", "y"), {})
    with pytest.raises(UserError, match=r"some test: no video is listed"):
        list_found("some test", [], {})


def test_a_video_opens_by_its_id(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "one.mp4", moving_square(6))
    listing = DatasetSplit("some test", (CaptionedVideo("the-id", path),), missing=("gone",))
    source = open_captioned("the-id", listing, first=1, frames=3)
    assert (source.name, source.frames) == ("the-id", 3)
    with pytest.raises(UserError, match=r"dataset.sequence=gone: its video is missing on disk; choose one of the-id"):
        open_captioned("gone", listing)
    with pytest.raises(UserError, match=r"dataset.sequence=typo: some test has no such id; choose one of the-id"):
        open_captioned("typo", listing)
