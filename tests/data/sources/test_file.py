import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_inr.data.datasets.bunny import open_bunny
from lightning_inr.data.sources.compressed import CompressedVideo
from lightning_inr.data.sources.file import open_source, open_video
from lightning_inr.data.sources.source import TransformedSource, resize
from lightning_inr.errors import UserError
from lightning_inr.types import VideoShape
from tests.conftest import moving_square, write_images, write_mp4


def yuv_frame(height: int, width: int, y: int, u: int, v: int) -> bytes:
    chroma = -(-height // 2) * -(-width // 2)
    return bytes([y]) * (height * width) + bytes([u]) * chroma + bytes([v]) * chroma


def test_images_are_read_in_the_order_of_their_names(images: Path) -> None:
    source = open_source(str(images))
    assert source.shape == VideoShape(6, 48, 64, 25.0)
    assert all(torch.equal(source.read(index), moving_square()[index]) for index in (3, 0, 5))


def test_grey_and_alpha_become_rgb(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "mixed", moving_square(1), mode="L")
    Image.new("RGBA", (64, 48), (255, 0, 0, 128)).save(folder / "00002.png")
    Image.new("I;16", (64, 48), 0).save(folder / "00003.png")
    source = open_source(str(folder))
    assert source.frames == 3
    grey = source.read(0)
    assert torch.equal(grey[0], grey[1])
    assert source.read(1)[:, 0, 0].tolist() == [128, 0, 0]  # half of it over black
    assert source.read(2).shape == (3, 48, 64)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_grey_of_sixteen_bits_keeps_its_range(tmp_path: Path, ending: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / f"1{ending}")
    expected = torch.from_numpy(np.rint(ramp / 257).astype(np.uint8)).expand(3, 48, 64)
    assert torch.equal(open_source(str(tmp_path)).read(0), expected)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_images_of_thirty_two_bits_are_refused(tmp_path: Path, kind: type[np.generic]) -> None:
    Image.fromarray(np.ones((48, 64), kind)).save(tmp_path / "1.tif")
    with pytest.raises(UserError, match="white is not known; write images of 8 or 16 bits"):
        open_source(str(tmp_path)).read(0)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_images_are_turned_as_their_camera_was(tmp_path: Path, ending: str) -> None:
    picture, exif = np.zeros((48, 64, 3), np.uint8), Image.Exif()
    picture[:, 32:] = 255
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(picture).save(tmp_path / f"1{ending}", exif=exif)
    source = open_source(str(tmp_path))
    frame = source.read(0)
    assert (3, source.height, source.width) == tuple(frame.shape) == (3, 64, 48)
    assert frame[:, :30].max() < 20
    assert frame[:, 34:].min() > 235


def test_an_image_that_is_too_large(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(UserError, match="not an image"):
        open_source(str(tmp_path))


def test_images_of_different_sizes_are_named(images: Path) -> None:
    Image.new("RGB", (10, 12)).save(images / "00007.png")
    with pytest.raises(UserError, match=r"different sizes \(6 of 64x48, 1 of 10x12\)"):
        open_source(str(images))


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images in this folder"):
        open_source(str(tmp_path))


def test_one_image_is_not_a_video(images: Path) -> None:
    with pytest.raises(UserError, match="one image; give a video"):
        open_source(str(images / "00001.png"))


@pytest.mark.parametrize(("matrix", "rgb"), [("file", [253, 0, 0]), ("bt601", [253, 0, 0]), ("bt709", [255, 23, 0])])
def test_raw_video_and_its_colour_matrix(tmp_path: Path, matrix: str, rgb: list[int]) -> None:
    path = tmp_path / "Red_16x8_120fps_420_8bit_YUV.yuv"
    path.write_bytes(yuv_frame(8, 16, 81, 90, 240) * 3)
    source = open_source(str(path), matrix)
    assert (source.frames, source.height, source.width, source.fps) == (3, 8, 16, 120)
    pixel = source.read(2)[:, 4, 4].tolist()
    assert all(abs(a - b) <= 1 for a, b in zip(pixel, rgb, strict=True))


def test_raw_video_of_odd_sides(tmp_path: Path) -> None:
    path = tmp_path / "odd_15x9.yuv"
    path.write_bytes(yuv_frame(9, 15, 81, 90, 240) * 2)
    source = open_source(str(path))
    assert source.frames == 2
    assert source.read(1).shape == (3, 9, 15)


def test_raw_video_that_is_not_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "cut_16x8.yuv"
    path.write_bytes(yuv_frame(8, 16, 81, 90, 240) * 2 + b"\0")
    with pytest.raises(UserError, match="not whole frames of 16x8"):
        open_source(str(path))
    (tmp_path / "z_0x0.yuv").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="sides are from 1"):
        open_source(str(tmp_path / "z_0x0.yuv"))
    (tmp_path / "nameless.yuv").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="put WIDTHxHEIGHT into its name"):
        open_source(str(tmp_path / "nameless.yuv"))


def test_y4m(tmp_path: Path) -> None:
    path = tmp_path / "clip.y4m"
    frames = b"".join(b"FRAME\n" + yuv_frame(8, 16, luma, 128, 128) for luma in (16, 126, 235))
    path.write_bytes(b"YUV4MPEG2 C420jpeg H8 W16 F30000:1001 Ip A1:1\n" + frames)
    source = open_source(str(path))
    assert source.fps == pytest.approx(29.97, abs=0.01)
    assert [int(source.read(index)[0, 0, 0]) for index in range(3)] == [0, 128, 255]


def test_a_cut_y4m_gives_its_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "cut.y4m"
    frame = b"FRAME\n" + yuv_frame(8, 16, 16, 128, 128)
    path.write_bytes(b"YUV4MPEG2 W16 H8 F25:1\n" + frame * 2 + frame[:50])
    with pytest.warns(UserWarning, match="cut: 2 whole frames are used"):
        assert open_source(str(path)).frames == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF", "not a YUV4MPEG2 file"),
        (b"YUV4MPEG2 W16 H8 C420p10\nFRAME\n" + b"\0" * 500, "pixel format C420p10"),
        (b"YUV4MPEG2 W16\nFRAME\n" + b"\0" * 500, "damaged YUV4MPEG2 header"),
        (b"YUV4MPEG2 W16 H8\nFRAME\nshort", "hold no frame of 16x8"),
        (b"YUV4MPEG2 W-96 H8\nFRAME\n" + b"\0" * 500, "sides are from 1"),
        (b"YUV4MPEG2 W0 H8\nFRAME\n" + b"\0" * 500, "sides are from 1"),
        (b"YUV4MPEG2 W16 H8 F" + b"9" * 400 + b":1\nFRAME\n" + b"\0" * 500, "damaged YUV4MPEG2 header"),
        (b"YUV4MPEG2 W16 H8 F99999999:1\nFRAME\n" + b"\0" * 500, "fps 99999999.0: a number from 0.01"),
    ],
)
def test_wrong_y4m(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "wrong.y4m").write_bytes(data)
    with pytest.raises(UserError, match=message):
        open_source(str(tmp_path / "wrong.y4m"))


def test_a_compressed_video_at_random_and_in_order(tmp_path: Path) -> None:
    video = moving_square(9)
    source = open_source(str(write_mp4(tmp_path / "clip.mp4", video)))
    assert (source.frames, source.height, source.width, source.fps) == (9, 48, 64, 25)
    for index in (8, 0, 1, 5):
        assert (source.read(index).float() - video[index].float()).abs().mean() < 8


def test_a_forced_matrix_changes_the_colours(tmp_path: Path) -> None:
    path = str(write_mp4(tmp_path / "clip.mp4", moving_square(3)))
    difference = open_source(path, "bt601").read(0).int() - open_source(path, "bt709").read(0).int()
    assert difference.abs().max() > 10
    with pytest.raises(UserError, match="matrix=srgb: choose file, bt601 or bt709"):
        open_source(path, "srgb")


def test_a_video_cut_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:  # the index before the frames
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = 48, 64, "yuv420p", {"g": "4", "crf": "1"}
        generator = np.random.default_rng(0)
        for _ in range(24):
            noise = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"damaged: \d+ of 24 frames are readable"):
        source = open_source(str(path))
    assert 4 <= source.frames < 20
    assert source.read(source.frames - 1).shape == (3, 48, 64)


@pytest.mark.parametrize("name", ["text.mp4", "empty.mp4"])
def test_a_file_that_is_not_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello " * 100 if name == "text.mp4" else "")
    with pytest.raises(UserError, match="not a video FFmpeg can read"):
        open_source(str(tmp_path / name))


def test_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        open_source(str(tmp_path / "pipe.mp4"))


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e9])
def test_an_impossible_frame_rate(images: Path, fps: float) -> None:
    with pytest.raises(UserError, match=r"dataset.fps=.*: choose a number from 0.01 to 10000"):
        open_source(str(images), fps=fps)


def test_a_given_frame_rate_is_used(tmp_path: Path) -> None:
    assert open_source(str(write_mp4(tmp_path / "clip.mp4", moving_square(3))), fps=12.5).fps == 12.5


def test_a_missing_path() -> None:
    with pytest.raises(UserError, match=r"dataset.path=/no/such.mp4: no such file"):
        open_source("/no/such.mp4")


def test_cut_and_resize(images: Path) -> None:
    source = open_video(str(images), frames=4, height=24)
    assert (source.frames, source.height, source.width) == (4, 24, 32)
    block = open_source(str(images)).read(1).float().unflatten(1, (24, 2)).unflatten(3, (32, 2)).mean(dim=(2, 4))
    assert (source.read(1).float() - block).abs().max() <= 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"frames": 7}, "frames=7: the video has 6"), ({"frames": 0}, "frames=0"), ({"height": -1}, "height=-1")],
)
def test_errors_name_wrong_clip_options(images: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_video(str(images), **options)


def test_enlarging_is_smooth_and_stays_in_range() -> None:
    enlarged = resize(moving_square(1)[0], (96, 128))
    assert enlarged.shape == (3, 96, 128)
    assert enlarged.dtype == torch.uint8


def test_bunny_can_be_opened() -> None:
    source = open_bunny(frames=3, height=180)
    assert isinstance(source, TransformedSource)
    assert isinstance(source.source, CompressedVideo)
    assert (source.source.frames, source.source.height, source.source.width) == (132, 720, 1280)
    assert (source.height, source.width, source.fps) == (180, 320, 25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert source.read(2).float().std() > 20
