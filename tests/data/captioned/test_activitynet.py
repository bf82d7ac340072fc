"""ActivityNet Captions: a small dataset in the published format."""

import json
from pathlib import Path

import pytest

from lightning_inr.data.captioned.activitynet import list_activitynet
from lightning_inr.data.captioned.split import Segment
from lightning_inr.errors import UserError
from tests.data.captioned.test_split import touch

VAL_1 = {
    "v_eeeeeeeeeee": {"duration": 55.2, "timestamps": [[0.3, 20.0], [18.5, 55.2]],
                      "sentences": ["A man lifts a bar.", " He puts it\ndown."]},
    "v_v_fffffffff": {"duration": 10.0, "timestamps": [[0, 4.0], [9.0, 5.0], [-1.0, 2.0]],
                      "sentences": ["A dog runs.", " It stops.", " It barks."]},
    "v_ggggggggggg": {"duration": 10.0, "timestamps": [[0, 4.0]], "sentences": ["Nobody kept this."]},
    "v_hhhhhhhhhhh": {"duration": 10.0, "timestamps": [], "sentences": []},
}  # fmt: skip


@pytest.fixture
def activitynet(tmp_path: Path) -> Path:
    (tmp_path / "val_1.json").write_text(json.dumps(VAL_1))
    (tmp_path / "train.json").write_text(json.dumps({"v_iiiiiiiiiii": VAL_1["v_eeeeeeeeeee"]}))
    (tmp_path / "val_ids.json").write_text(json.dumps(["v_without_any", "v_v_fffffffff", "v_ggggggggggg"]))
    videos = tmp_path / "videos"
    # The second file has no prefix, though its id begins as if it had.
    touch(
        videos / "v_eeeeeeeeeee.mp4",
        videos / "v_fffffffff.mkv",
        videos / "iiiiiiiiiii.webm",
        videos / "hhhhhhhhhhh.mp4",
    )
    return tmp_path


def test_a_paragraph_a_video_and_its_events(activitynet: Path) -> None:
    listing = list_activitynet(str(activitynet))
    bar, dog = listing.videos
    assert (bar.id, Path(bar.path).name, bar.label) == ("v_eeeeeeeeeee", "v_eeeeeeeeeee.mp4", None)
    assert bar.captions == ("A man lifts a bar. He puts it down.",)
    assert bar.segments == (Segment(0.3, 20.0, "A man lifts a bar."), Segment(18.5, 55.2, "He puts it down."))
    assert (dog.id, Path(dog.path).name, dog.captions) == (
        "v_v_fffffffff",
        "v_fffffffff.mkv",
        ("A dog runs. It stops. It barks.",),
    )
    assert dog.segments == (Segment(0.0, 4.0, "A dog runs."),)  # one is reversed and one negative
    assert (listing.name, listing.missing) == ("ActivityNet Captions val_1", ("v_ggggggggggg",))


def test_other_splits_have_files_of_their_own(activitynet: Path) -> None:
    assert [video.id for video in list_activitynet(str(activitynet), "train").videos] == ["v_iiiiiiiiiii"]
    with pytest.raises(UserError, match=r"dataset.listing.root=.*: no val_2.json here; get it from https"):
        list_activitynet(str(activitynet), "val_2")
    with pytest.raises(UserError, match=r"dataset.listing.split=val: choose one of train, val_1, val_2"):
        list_activitynet(str(activitynet), "val")


def test_a_manifest_chooses_and_may_name_ids_without_captions(activitynet: Path, tmp_path: Path) -> None:
    listing = list_activitynet(str(activitynet), manifest=str(activitynet / "val_ids.json"))
    assert ([video.id for video in listing.videos], listing.missing) == (["v_v_fffffffff"], ("v_ggggggggggg",))
    plain = tmp_path / "plain.txt"
    plain.write_text("eeeeeeeeeee\r\nhhhhhhhhhhh\r\n")
    assert [video.id for video in list_activitynet(str(activitynet), manifest=str(plain)).videos] == ["v_eeeeeeeeeee"]
    plain.write_text("nobody\n")
    with pytest.raises(
        UserError, match=r"ActivityNet Captions val_1: no video is listed; check dataset.listing.root and"
    ):
        list_activitynet(str(activitynet), manifest=str(plain))


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"v_x": {"timestamps": [[0, 1]], "sentences": []}}', "val_1.json: v_x: 1 segments but 0 texts"),
     ('{"v_x": {"timestamps": [["0", "1"]], "sentences": ["a"]}}', "val_1.json: v_x: a segment is not two numbers"),
     ('{"v_x": {"sentences": ["a"]}}', "val_1.json: v_x: no 'timestamps' that is a list"),
     ("{}", "val_1.json: nothing at its top"), ("", "val_1.json: damaged, or not JSON")],
)  # fmt: skip
def test_damaged_captions_are_named(activitynet: Path, text: str, message: str) -> None:
    (activitynet / "val_1.json").write_text(text)
    with pytest.raises(UserError, match=message):
        list_activitynet(str(activitynet))
