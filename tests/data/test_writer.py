import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_inr.data.sources.file import open_source
from lightning_inr.data.writer import Encoding, check_target, encode_video, write_frames
from lightning_inr.errors import UserError
from tests.conftest import moving_square


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_video_comes_back(tmp_path: Path, size: tuple[int, int]) -> None:
    video = moving_square(5, *size)
    source = open_source(str(write_frames(video, tmp_path / "out.mp4", 29.97)))
    assert source.frames == 5
    assert source.fps == pytest.approx(29.97, abs=0.01)
    assert (source.height, source.width) == (48, 64)  # odd sides gain an edge pixel
    for index in range(5):
        decoded = source.read(index)[:, : size[0], : size[1]].float()
        assert (decoded - video[index].float()).abs().mean() < 8


def test_encoding_restores_the_priority(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    encode_video(moving_square(3), tmp_path / "out.mp4", 25, Encoding("libsvtav1", {"preset": "12"}))
    assert os.sched_getscheduler(0) == before


def test_pngs_are_exact_and_numbered(tmp_path: Path) -> None:
    video = moving_square(3)
    folder = write_frames(iter(video), tmp_path / "frames", 25, first=71)
    assert [file.name for file in sorted(folder.iterdir())] == ["00071.png", "00072.png", "00073.png"]
    image = torch.from_numpy(np.array(Image.open(folder / "00072.png"))).permute(2, 0, 1)
    assert torch.equal(image, video[1])


def test_an_existing_folder_keeps_its_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_frames(moving_square(1), tmp_path, 25)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "00001.png").exists()


@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, name: str) -> None:
    def broken() -> Iterator[Tensor]:
        yield from moving_square(2)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_frames(broken(), tmp_path / name, 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["clip.gif", "notes.txt"])
def test_wrong_targets_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"name a video \(.*mp4.*\) or a folder"):
        check_target(tmp_path / name)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "frames").write_text("")
    with pytest.raises(UserError, match="a file is there"):
        check_target(tmp_path / "frames")
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(UserError, match="a folder with the name of a video"):
        check_target(tmp_path / "out.mp4")
