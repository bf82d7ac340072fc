"""MSR-VTT: a small dataset in the published format."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_inr.data.captioned.msrvtt import list_msrvtt
from lightning_inr.data.captioned.split import DatasetSplit
from lightning_inr.errors import UserError
from tests.data.captioned.test_split import touch


def described(splits: dict[str, str]) -> dict[str, Any]:
    """MSRVTT_data.json with two captions per clip."""
    ids = list(splits)
    return {
        "info": {},
        "videos": [
            {"category": 3, "url": "https://www.youtube.com/watch?v=ddddddddddd", "video_id": id, "start time": 4.5,
             "end time": 16.0, "split": splits[id], "id": int(id.removeprefix("video"))}
            for id in ids
        ],
        "sentences": [
            {"caption": f" caption  {number} of {id}", "video_id": id, "sen_id": 2 * ids.index(id) + number}
            for number in range(2) for id in ids
        ],
    }  # fmt: skip


SPLITS = {"video0": "train", "video6513": "validate", "video7010": "test", "video7011": "test", "video7012": "test"}


@pytest.fixture
def msrvtt(tmp_path: Path) -> Path:
    lists = tmp_path / "msrvtt_data"  # as CLIP4Clip's archive unpacks
    lists.mkdir()
    (lists / "MSRVTT_data.json").write_text(json.dumps(described(SPLITS)))
    (lists / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\n"
        'ret0,msr7010,video7010,a child folds paper\nret1,msr7011,video7011,"a man talks, then sings"\n'
    )
    (lists / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo7012\n")
    (lists / "MSRVTT_train.7k.csv").write_text("video_id\nvideo0\nvideo6513\n")
    videos = tmp_path / "MSRVTT" / "videos" / "all"
    touch(*(videos / f"{id}.mp4" for id in SPLITS if id != "video7012"), videos / "video7012.webm")
    return tmp_path


def captions(listing: DatasetSplit) -> dict[str, tuple[str, ...]]:
    return {video.id: video.captions for video in listing.videos}


def two(id: str) -> tuple[str, ...]:
    return (f"caption 0 of {id}", f"caption 1 of {id}")


def test_1k_has_one_caption_per_clip(msrvtt: Path) -> None:
    listing = list_msrvtt(str(msrvtt))
    assert captions(listing) == {"video7010": ("a child folds paper",), "video7011": ("a man talks, then sings",)}
    assert (listing.name, listing.missing, listing.videos[0].label) == ("MSR-VTT 1k", (), None)


@pytest.mark.parametrize(
    ("split", "ids"),
    [("full", ["video7010", "video7011", "video7012"]), ("train", ["video0"]), ("validate", ["video6513"]),
     ("train_9k", ["video0", "video7012"]), ("train_7k", ["video0", "video6513"])],
)  # fmt: skip
def test_other_splits_have_all_captions(msrvtt: Path, split: str, ids: list[str]) -> None:
    assert captions(list_msrvtt(str(msrvtt), split)) == {id: two(id) for id in ids}


def test_a_missing_clip_is_counted(msrvtt: Path) -> None:
    (msrvtt / "MSRVTT/videos/all/video7011.mp4").unlink()
    listing = list_msrvtt(str(msrvtt), "full")
    assert (list(captions(listing)), listing.missing) == (["video7010", "video7012"], ("video7011",))


def test_the_original_release_comes_in_two_files(msrvtt: Path) -> None:
    lists = msrvtt / "msrvtt_data"
    (lists / "MSRVTT_data.json").unlink()
    test = {id: split for id, split in SPLITS.items() if split == "test"}
    (msrvtt / "test_videodatainfo.json").write_text(json.dumps(described(test)))
    assert captions(list_msrvtt(str(msrvtt), "full")) == {id: two(id) for id in test}
    with pytest.raises(
        UserError, match=r"MSRVTT_train.9k.csv: lists video0, of which no caption is there; add MSRVTT_"
    ):
        list_msrvtt(str(msrvtt), "train_9k")
    rest = {id: split for id, split in SPLITS.items() if split != "test"}
    (msrvtt / "train_val_videodatainfo.json").write_text(json.dumps(described(rest)))
    assert captions(list_msrvtt(str(msrvtt), "train_9k")) == {id: two(id) for id in ("video0", "video7012")}


def test_captions_described_twice_are_not_doubled(msrvtt: Path) -> None:
    (msrvtt / "test_videodatainfo.json").write_text((msrvtt / "msrvtt_data" / "MSRVTT_data.json").read_text())
    assert captions(list_msrvtt(str(msrvtt), "train")) == {"video0": two("video0")}


def test_errors_are_one_line(msrvtt: Path) -> None:
    with pytest.raises(
        UserError, match=r"dataset.listing.split=1k-A: choose one of 1k, full, train, validate, train_9k"
    ):
        list_msrvtt(str(msrvtt), "1k-A")
    table = msrvtt / "msrvtt_data" / "MSRVTT_JSFUSION_test.csv"
    table.write_text("key,video\nret0,video7010\n")
    with pytest.raises(UserError, match=r"MSRVTT_JSFUSION_test.csv: no column video_id, sentence"):
        list_msrvtt(str(msrvtt))
    table.write_bytes(b"video_id,sentence\nvideo7010,\xff\xfe\n")
    with pytest.raises(UserError, match=r"MSRVTT_JSFUSION_test.csv: damaged, or not CSV"):
        list_msrvtt(str(msrvtt))
    table.unlink()
    with pytest.raises(
        UserError, match=r"dataset.listing.root=.*: no MSRVTT_JSFUSION_test.csv here; get it from https"
    ):
        list_msrvtt(str(msrvtt))
