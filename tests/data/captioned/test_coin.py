"""COIN: a small dataset in the published format."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_inr.data.captioned.coin import list_coin, split_camel_case
from lightning_inr.data.captioned.split import Segment
from lightning_inr.errors import UserError
from tests.data.captioned.test_split import touch


def entry(name: str, subset: str, recipe: int, *steps: tuple[float, float, str]) -> dict[str, Any]:
    return {
        "duration": 90.0, "class": name, "video_url": "https://www.youtube.com/embed/aaaaaaaaaaa", "start": 10.0,
        "end": 60.0, "subset": subset, "recipe_type": recipe,
        "annotation": [{"id": "31", "segment": [start, end], "label": label} for start, end, label in steps],
    }  # fmt: skip


DATABASE = {
    "aaaaaaaaaaa": entry("FoldPaperBoat", "testing", 7, (12.0, 20.0, "fold the sheet in half"), (22, 30, "open it")),
    "-b_bbbbbbbb": entry("ReplaceCDDrive", "validation", 8, (1.0, 2.5, "open it"), (9.0, 8.0, "shut it")),
    "ccccccccccc": entry("FoldPaperBoat", "training", 7, (3.0, 4.0, "open it")),
    "ddddddddddd": entry("FoldPaperBoat", "testing", 7),
}


@pytest.fixture
def coin(tmp_path: Path) -> Path:
    (tmp_path / "COIN.json").write_text(json.dumps({"database": DATABASE}))
    videos = tmp_path / "videos"
    touch(videos / "7" / "aaaaaaaaaaa.mp4", videos / "-b_bbbbbbbb.webm", videos / "7" / "ccccccccccc.mkv")
    return tmp_path


@pytest.mark.parametrize("split", ["testing", "validation"])
def test_testing_and_validation_are_one_split(coin: Path, split: str) -> None:
    listing = list_coin(str(coin), split)
    boat, drive = listing.videos
    assert (boat.id, boat.path, boat.label) == ("aaaaaaaaaaa", coin / "videos/7/aaaaaaaaaaa.mp4", "fold paper boat")
    assert boat.segments == (Segment(12.0, 20.0, "fold the sheet in half"), Segment(22.0, 30.0, "open it"))
    assert (drive.label, drive.segments) == ("replace CD drive", (Segment(1.0, 2.5, "open it"),))  # one is reversed
    assert (listing.name, listing.missing) == (f"COIN {split}", ("ddddddddddd",))


def test_the_rest_is_for_training(coin: Path) -> None:
    assert [video.id for video in list_coin(str(coin), "training").videos] == ["ccccccccccc"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("PlayFrisbeeWithADog", "play frisbee with a dog"), ("ReplaceCDDriveWithSSD", "replace CD drive with SSD"),
     ("UseDSLR", "use DSLR"), ("boil", "boil")],
)  # fmt: skip
def test_class_names_become_words(name: str, words: str) -> None:
    assert split_camel_case(name) == words


def test_a_missing_root_or_file_is_an_error_with_the_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_INR_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"^dataset.listing.root=.*/coin: COIN is not there; get it from https://coin"):
        list_coin()
    (tmp_path / "coin").mkdir()
    with pytest.raises(UserError, match=r"^dataset.listing.root=.*/coin: no COIN.json here; get it from https://coin"):
        list_coin()
    with pytest.raises(UserError, match=r"dataset.listing.split=test: choose one of testing, validation, training"):
        list_coin(split="test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"database": {"aaaaaaaaaaa": {"dura', "COIN.json: damaged, or not JSON; fetch it anew"),
        ('{"database": {"a": ' + "[" * 100_000, "COIN.json: damaged, or not JSON"),
        ("[1, 2]", "COIN.json: nothing at database; name the annotations"),
        ('{"database": {"x": {"subset": "testing"}}}', "COIN.json: x: no 'annotation' that is a list"),
        ('{"database": {"x": 1}}', "COIN.json: x: no 'subset' that is a str"),
        (
            json.dumps({"database": {"x": DATABASE["aaaaaaaaaaa"] | {"annotation": [{"segment": [1], "label": "?"}]}}}),
            "COIN.json: x: a segment is not two numbers",
        ),
    ],
)
def test_damaged_annotations_are_errors_of_one_line(coin: Path, text: str, message: str) -> None:
    (coin / "COIN.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        list_coin(str(coin))
    assert "\n" not in str(caught.value)
