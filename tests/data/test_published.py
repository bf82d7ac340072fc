"""The published datasets: small ones in the published formats."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_inr.data.datasets.bunny import open_bunny
from lightning_inr.data.datasets.davis import open_davis, read_list
from lightning_inr.data.datasets.mcl_jcv import open_mcl_jcv
from lightning_inr.data.datasets.taichi import open_taichi
from lightning_inr.data.datasets.uvg import open_uvg
from lightning_inr.errors import UserError
from tests.conftest import moving_square, write_images, write_mp4


def yuv(frames: int, width: int = 64, height: int = 32) -> bytes:
    return bytes([100]) * (width * height * 3 // 2) * frames


def write_numbered(folder: Path, video: Tensor, pattern: str, first: int) -> Path:
    """Write images named by `pattern`, numbered from `first`."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(video, start=first):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / (pattern % number))
    return folder


@pytest.fixture
def uvg(tmp_path: Path) -> Path:
    root = tmp_path / "UVG"
    root.mkdir()
    (root / "Beauty_64x32_120fps_420_8bit_YUV.yuv").write_bytes(yuv(6))
    (root / "ShakeNDry_64x32_120fps_420_8bit_YUV.yuv").write_bytes(yuv(3))
    archive = root / "ReadySetGo_64x32_120fps_420_8bit_YUV_RAW"
    archive.mkdir()
    (archive / "ReadySteadyGo_64x32_120fps_420_8bit_YUV.yuv").write_bytes(yuv(2))
    (root / "Jockey_64x32_120fps_420_8bit_YUV.y4m").write_bytes(
        b"YUV4MPEG2 W64 H32 F120:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + yuv(1)) * 4
    )
    write_numbered(root / "honeybee_1080", moving_square(5), "f%05d.png", 1)
    write_numbered(root / "Bosphorus_1920x1080_120", moving_square(4), "%03d.png", 1)
    write_numbered(root / "YachtRide", moving_square(3), "im%05d.png", 1)
    return root


@pytest.mark.parametrize(
    ("sequence", "frames", "size"),
    [("Beauty", 6, (32, 64)), ("ShakeNDry", 3, (32, 64)), ("ReadySteadyGo", 2, (32, 64)), ("ReadySetGo", 2, (32, 64)),
     ("Jockey", 4, (32, 64)), ("HoneyBee", 5, (48, 64)), ("honeybee", 5, (48, 64)), ("Bosphorus", 4, (48, 64)),
     ("YachtRide", 3, (48, 64))],
)  # fmt: skip
def test_uvg_in_every_form(uvg: Path, sequence: str, frames: int, size: tuple[int, int]) -> None:
    source = open_uvg(sequence, str(uvg))
    assert (source.frames, (source.height, source.width), source.fps) == (frames, size, 120)
    assert source.read(frames - 1).shape == (3, *size)
    assert source.name.lower() in (sequence.lower(), "readysteadygo")


def test_uvg_prefers_raw_files_and_records_their_matrix(uvg: Path) -> None:
    write_images(uvg / "Beauty", moving_square(2))
    assert open_uvg("Beauty", str(uvg)).matrix == "bt601"
    assert open_uvg("Beauty", str(uvg), matrix="bt709", height=16).matrix == "bt709"
    assert open_uvg("Bosphorus", str(uvg)).matrix == "rgb"


def test_an_unknown_sequence_is_an_error_that_lists_existing_ones(uvg: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.sequence=Beutty: choose one of Beauty, Bosphorus, HoneyBee"):
        open_uvg("Beutty", str(uvg))


def test_a_missing_root_is_an_error_with_the_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_INR_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"ultravideo.fi.*Beauty_1920x1080.*dataset.root=.*LIGHTNING_INR_DATA"):
        open_uvg("Beauty")
    (tmp_path / "UVG").mkdir()
    with pytest.raises(UserError, match="no UVG here; it must hold Beauty_1920x1080"):
        open_uvg("Beauty")


def test_one_environment_variable_names_the_folder_of_all_datasets(uvg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_INR_DATA", str(uvg.parent))
    assert open_uvg("Beauty", first=2, frames=3, crop=[16, 32], width=16).shape[:3] == (3, 8, 16)


def test_mcl_jcv_reads_the_rate_in_the_name(tmp_path: Path) -> None:
    for name in ("videoSRC01_64x32_30", "videoSRC05_64x32_25", "videoSRC17_64x32_24"):
        (tmp_path / f"{name}.yuv").write_bytes(yuv(2))
    assert [open_mcl_jcv(n, str(tmp_path)).fps for n in (1, "05", "videoSRC17")] == [30, 25, 24]
    with pytest.raises(UserError, match=r"=videoSRC02: choose one of videoSRC01, videoSRC05, videoSRC17"):
        open_mcl_jcv(2, str(tmp_path))


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    for resolution in ("1080p", "Full-Resolution"):
        for name in ("kite-surf", "cows"):
            write_numbered(tmp_path / "JPEGImages" / resolution / name, moving_square(3), "%05d.jpg", 0)
    lists = tmp_path / "ImageSets"
    (lists / "1080p").mkdir(parents=True)
    (lists / "2017").mkdir()
    (lists / "1080p" / "val.txt").write_text(
        "".join(f"/JPEGImages/1080p/kite-surf/{n:05d}.jpg /Annotations/1080p/kite-surf/{n:05d}.png\n" for n in range(3))
    )
    (lists / "2017" / "val.txt").write_text("cows\nkite-surf\n")
    return tmp_path


def test_davis_and_both_styles_of_its_lists(davis: Path) -> None:
    source = open_davis("cows", str(davis))
    assert (source.name, source.shape) == ("cows", (3, 48, 64, 24.0, 1))
    assert open_davis("cows", str(davis), resolution="Full-Resolution").frames == 3
    assert read_list(davis / "ImageSets" / "1080p" / "val.txt") == ["kite-surf"]
    assert read_list(davis / "ImageSets" / "2017" / "val.txt") == ["cows", "kite-surf"]
    assert open_davis("cows", str(davis), split="2017/val").frames == 3
    with pytest.raises(UserError, match=r"dataset.sequence=cows: choose one of kite-surf"):
        open_davis("cows", str(davis), split="1080p/val")
    with pytest.raises(UserError, match=r"dataset.resolution=4k: no .*; there: 1080p, Full-Resolution"):
        open_davis("cows", str(davis), resolution="4k")


def test_taichi_files_and_folders_that_end_in_mp4(tmp_path: Path) -> None:
    test = tmp_path / "test"
    test.mkdir()
    write_mp4(test / "abcDEF_2345#000040#000260.mp4", moving_square(4), fps=10)
    write_numbered(test / "zyx-vUT98765#000000#000256.mp4", moving_square(5), "%07d.png", 0)
    (tmp_path / "taichi-metadata.csv").write_text(
        "video_id,start,end,bbox,fps,width,height,partition\nabcDEF_2345,40,260,120-60-500-440,29.97,640,480,test\n"
    )
    movie = open_taichi("abcDEF_2345", str(tmp_path))
    assert (movie.frames, movie.fps, movie.name) == (4, 29.97, "abcDEF_2345#000040#000260")
    folder = open_taichi("zyx-vUT98765#000000#000256", str(tmp_path))
    assert (folder.frames, folder.fps) == (5, 25.0)
    assert torch.equal(folder.read(4), moving_square(5)[4])
    with pytest.raises(UserError, match=r"dataset.sequence=nobody: choose one of abcDEF"):
        open_taichi("nobody", str(tmp_path))


def test_bunny_as_a_folder_of_pngs(tmp_path: Path) -> None:
    folder = write_numbered(tmp_path / "bunny", moving_square(6), "f%05d.png", 1)
    source = open_bunny(str(folder), crop=[24, 64])
    assert (source.name, source.shape[:3]) == ("bunny", (6, 24, 64))
    assert torch.equal(source.read(3), moving_square(6)[3, :, 12:36])


def test_a_missing_frame_number(tmp_path: Path) -> None:
    folder = write_numbered(tmp_path / "frames", moving_square(6), "f%05d.png", 1)
    (folder / "f00004.png").unlink()
    with pytest.raises(UserError, match=r"frame number 4 is missing \(f00003.png is followed by f00005.png\)"):
        open_bunny(str(folder))


def test_numbers_without_padding_are_numbers(tmp_path: Path) -> None:
    source = open_bunny(str(write_numbered(tmp_path / "frames", moving_square(12), "%d.png", 1)))
    assert torch.equal(source.read(9), moving_square(12)[9])


@pytest.mark.parametrize(
    ("part", "message"),
    [({"first": 6}, "dataset.first=6: the video has frames 0 to 5"), ({"first": -1}, "dataset.first=-1"),
     ({"first": 4, "frames": 3}, "dataset.frames=3: the video has 6 frames, 2 from 4 on"),
     ({"crop": [100, 10]}, r"dataset.crop=\[100, 10\]: give \[height,width\] up to 48x64"),
     ({"crop": [10]}, "dataset.crop"), ({"height": 0}, "dataset.height=0: choose a whole number from 1")],
)  # fmt: skip
def test_parts_outside_the_video(images: Path, part: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_bunny(str(images), **part)


@pytest.mark.parametrize(("stride", "frames"), [(1, 6), (2, 5), (3, 4), (5, 6)])
def test_the_last_frame_is_a_training_frame(images: Path, stride: int, frames: int) -> None:
    source = open_bunny(str(images)).trim_to_stride(stride)
    assert source.frames == frames
    assert source.shape._replace(stride=stride).training_frames[-1] == frames - 1


def test_a_stride_larger_than_the_video(images: Path) -> None:
    with pytest.raises(UserError, match="stride=6: the video has 6 frames; choose 1 to 5"):
        open_bunny(str(images)).trim_to_stride(6)
