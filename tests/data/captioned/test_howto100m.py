"""HowTo100M: a small dataset in the published format."""

import json
from pathlib import Path

import pytest

from lightning_inr.data.captioned.annotations import NullForNaN
from lightning_inr.data.captioned.howto100m import join_segments, list_howto100m
from lightning_inr.data.captioned.split import DatasetSplit, Segment
from lightning_inr.errors import UserError
from tests.data.captioned.test_split import touch

SPEECH = {
    "bbbbbbbbbbb": {"start": [0.5, 4.0], "end": [3.9, 9.2], "text": ["today we sharpen a saw", "clamp it first"]},
    "ccccccccccc": {"start": [0, 2.0, 3.0, 9.0], "end": [2.5, 3.5, 4.0, 8.0],
                    "text": ["mix", float("nan"), "NaN bread", "reversed"]},
    "unwanted_id": {"start": "not looked at"},
}  # fmt: skip


@pytest.fixture
def howto(tmp_path: Path) -> Path:
    (tmp_path / "HowTo100M_v1.csv").write_text(
        "video_id,category_1,category_2,rank,task_id\n"
        "bbbbbbbbbbb,Home and Garden,Tools,4,101\nccccccccccc,,,12,202\nunwanted_id,,,1,101\n"
    )
    (tmp_path / "task_ids.csv").write_text('101\tSharpen a Saw\n202\tMake "Real" Bread, Fast\n')
    (tmp_path / "caption.json").write_text(json.dumps(SPEECH))  # NaN and all, as Python writes it
    (tmp_path / "subset.txt").write_text("ccccccccccc\n\nbbbbbbbbbbb\nddddddddddd\nbbbbbbbbbbb\n")
    touch(tmp_path / "videos" / "bbbbbbbbbbb.mp4", tmp_path / "ccccccccccc.webm", tmp_path / "unwanted_id.mp4")
    return tmp_path


def listed(howto: Path, captions: str = "caption.json", least_seconds: float = 0.0) -> DatasetSplit:
    return list_howto100m(str(howto), str(howto / "subset.txt"), captions, least_seconds)


def test_only_videos_of_the_manifest(howto: Path) -> None:
    listing = listed(howto)
    bread, saw = listing.videos
    assert (bread.id, bread.label) == ("ccccccccccc", 'Make "Real" Bread, Fast')
    assert bread.segments == (Segment(0.0, 2.5, "mix"), Segment(3.0, 4.0, "NaN bread"))
    assert (saw.label, saw.path) == ("Sharpen a Saw", howto / "videos" / "bbbbbbbbbbb.mp4")
    assert saw.segments == (Segment(0.5, 3.9, "today we sharpen a saw"), Segment(4.0, 9.2, "clamp it first"))
    assert (listing.name, listing.missing) == ("HowTo100M subset", ("ddddddddddd",))


def test_transcript_segments_can_be_joined(howto: Path) -> None:
    saw = listed(howto, least_seconds=5.0).videos[1]
    assert saw.segments == (Segment(0.5, 9.2, "today we sharpen a saw clamp it first"),)


def test_joining_stops_at_the_least_duration_and_overlaps_count_once() -> None:
    pieces = [Segment(0, 1, "a"), Segment(1, 2, "b"), Segment(2, 6, "c"), Segment(3, 4, "d"), Segment(8, 8.5, "e")]
    assert join_segments(pieces, 2) == (Segment(0, 2, "a b"), Segment(2, 6, "c"), Segment(3, 8.5, "d e"))
    assert join_segments(pieces, 0) == tuple(pieces)


@pytest.mark.parametrize("size", range(1, 12))
def test_nan_is_null_wherever_a_block_ends(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b'{"NaN": [NaN,NaN], "a": "Nan NaNa"}')
    with (tmp_path / "file").open("rb") as file:
        reader = NullForNaN(file)
        text = b"".join(iter(lambda: reader.read(size), b""))
    assert json.loads(text.replace(b'"null"', b'"NaN"')) == {"NaN": [None, None], "a": "Nan NaNa"}


def test_a_manifest_is_required(howto: Path) -> None:
    with pytest.raises(
        UserError, match=r"dataset.listing.manifest=null: there is no official subset .* one video id a"
    ):
        list_howto100m(str(howto))
    with pytest.raises(UserError, match=r"dataset.listing.manifest=.*nowhere.txt: no such file"):
        list_howto100m(str(howto), str(howto / "nowhere.txt"))
    (howto / "subset.txt").write_text("\n")
    with pytest.raises(UserError, match=r"dataset.listing.manifest=.*subset.txt: the file is empty"):
        listed(howto)


def test_unusable_options_are_errors(howto: Path) -> None:
    with pytest.raises(
        UserError, match=r"dataset.listing.captions=caption.pickle: only JSON is read .*; choose caption"
    ):
        listed(howto, captions="caption.pickle")
    with pytest.raises(UserError, match=r"dataset.listing.least_seconds=-1: choose a number from 0"):
        listed(howto, least_seconds=-1)
    with pytest.raises(UserError, match=r"dataset.listing.root=.*: no raw_caption.json here; get it from https://"):
        listed(howto, captions="raw_caption.json")


def test_damaged_files_are_named(howto: Path) -> None:
    whole = (howto / "caption.json").read_text()
    (howto / "caption.json").write_text(whole.replace("[0.5, 4.0]", "[0.5]"))
    with pytest.raises(UserError, match=r"caption.json: bbbbbbbbbbb: 1 starts but 2 ends; fetch the file anew"):
        listed(howto)
    (howto / "caption.json").write_text(whole[:-40])
    with pytest.raises(UserError, match=r"caption.json: damaged, or not JSON"):
        listed(howto)
    (howto / "HowTo100M_v1.csv").write_text("video_id,task_id\nbbbbbbbbbbb\n")
    with pytest.raises(UserError, match=r"HowTo100M_v1.csv: line 2 is cut short"):
        listed(howto)
    (howto / "HowTo100M_v1.csv").write_text("video_id,rank\nbbbbbbbbbbb,1\n")
    with pytest.raises(UserError, match=r"HowTo100M_v1.csv: no column task_id"):
        listed(howto)
