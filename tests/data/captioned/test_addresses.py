"""Captioned datasets behind addresses list what the same folder on disk lists."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lightning_inr.data.captioned.activitynet import list_activitynet
from lightning_inr.data.captioned.coin import list_coin
from lightning_inr.data.captioned.howto100m import list_howto100m
from lightning_inr.data.captioned.msrvtt import list_msrvtt
from lightning_inr.data.captioned.split import DatasetSplit, open_captioned
from lightning_inr.errors import UserError
from tests.conftest import moving_square, write_mp4
from tests.data.captioned.test_coin import DATABASE
from tests.data.captioned.test_howto100m import SPEECH
from tests.data.captioned.test_msrvtt import SPLITS, described

Listing = Callable[..., DatasetSplit]
VAL_1 = {"v_aaaaaaaaaaa": {"duration": 4.0, "timestamps": [[0.0, 2.0]], "sentences": ["A saw is sharpened."]}}
# The listing, its annotations, and a video of it.
DATASETS: dict[str, tuple[Listing, dict[str, Any], str]] = {
    "msrvtt": (
        lambda root: list_msrvtt(root, split="full"), {"data/MSRVTT_data.json": described(SPLITS)}, "video7010.mp4"
    ),
    "coin": (list_coin, {"COIN.json": {"database": DATABASE}}, "7/aaaaaaaaaaa.mp4"),
    "activitynet": (list_activitynet, {"val_1.json": VAL_1}, "v_aaaaaaaaaaa.mkv"),
    "howto100m": (
        list_howto100m,
        {
            "HowTo100M_v1.csv": "video_id,category_1,category_2,rank,task_id\nbbbbbbbbbbb,,,4,101\n",
            "task_ids.csv": "101\tSharpen a Saw\n", "caption.json": SPEECH,
        },
        "bbbbbbbbbbb.webm",
    ),
}  # fmt: skip


@pytest.fixture(params=DATASETS)
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Listing, Path, str]:
    """A listing, its folder with one video, and the address of a copy of the folder in memory."""
    listing, annotations, video = DATASETS[request.param]
    folder, manifest = tmp_path / request.param, tmp_path / "subset.txt"
    if listing is list_howto100m:  # without official subsets
        manifest.write_text("bbbbbbbbbbb\n")
        listing = partial(listing, manifest=str(manifest))
    for name, content in annotations.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "videos" / video).parent.mkdir(parents=True)
    shutil.copy(write_mp4(tmp_path / "clip.mp4", moving_square(4, 16, 24)), folder / "videos" / video)
    address = f"memory://{tmp_path.name}/{folder.name}"
    fsspec.filesystem("memory").put(f"{folder}/", address, recursive=True)
    return listing, folder, address


def test_an_address_lists_what_the_folder_lists(dataset: tuple[Listing, Path, str]) -> None:
    listing, folder, address = dataset
    expected, found = listing(str(folder)), listing(f"{address}/")
    assert found.missing == expected.missing
    assert found.name == expected.name
    for one, other in zip(found.videos, expected.videos, strict=True):
        assert one._replace(path=other.path) == other
        assert one.location == f"{address}/{Path(other.path).relative_to(folder).as_posix()}"


def test_its_videos_are_read(dataset: tuple[Listing, Path, str]) -> None:
    listing, _, address = dataset
    split = listing(address)
    source = open_captioned(split.videos[0].id, split)
    assert source.frames == 4
    assert source.read(0).shape == (3, 16, 24)


def test_messages_name_the_address(dataset: tuple[Listing, Path, str], tmp_path: Path) -> None:
    listing, _, _ = dataset
    address = f"memory://{tmp_path.name}/nothing"
    with pytest.raises(UserError, match=f"dataset.listing.root={address}: no "):
        listing(address)
