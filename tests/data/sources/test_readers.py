"""Every container and codec that PyAV can write here: `read` gives the frames of decoding from the start."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch
import torch.utils.data
from torch import Tensor

from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.data.writer import ordinary_priority
from lightning_inr.errors import UserError

FRAMES = 40
HEIGHT, WIDTH = 48, 80


class Written(NamedTuple):
    """Container, codec and options of a file."""

    ending: str
    codec: str
    options: Mapping[str, str] = MappingProxyType({})
    pixels: str = "yuv420p"
    size: tuple[int, int] = (HEIGHT, WIDTH)


X264 = {"g": "8", "bf": "3", "preset": "ultrafast", "b-pyramid": "normal"}
OPEN = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:scenecut=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=8:bframes=0"}
X265 = {"x265-params": "keyint=8:bframes=3:open-gop=1:log-level=none", "preset": "ultrafast"}
MATRIX = [
    *(Written(ending, "libx264", X264) for ending in ("mp4", "mov", "mkv", "ts", "flv", "avi", "nut", "m2ts", "h264")),
    *(Written(ending, "libx264", OPEN) for ending in ("mp4", "mkv", "ts")),
    *(Written(ending, "libx264", REFRESH) for ending in ("mp4", "mkv", "ts")),
    *(Written(ending, "libx265", X265) for ending in ("mp4", "mkv", "ts")),
    *(Written(ending, "mpeg4", {"g": "8", "bf": "2"}) for ending in ("mp4", "avi", "mkv", "3gp")),
    *(Written(ending, "mpeg2video", {"g": "8", "bf": "2"}) for ending in ("mpg", "ts", "mkv", "mxf", "vob")),
    Written("mpg", "mpeg1video", {"g": "8", "bf": "2"}),
    Written("wmv", "wmv2", {"g": "8"}),
    Written("asf", "msmpeg4", {"g": "8"}),
    Written("flv", "flv", {"g": "8"}),
    *(Written(ending, "libvpx", {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}) for ending in ("webm", "mkv")),
    *(Written(ending, "libvpx-vp9", {"g": "8", "lag-in-frames": "16"}) for ending in ("webm", "mp4", "ivf")),
    *(Written(ending, "libsvtav1", {"g": "8", "preset": "12"}) for ending in ("mp4", "mkv", "webm")),
    *(Written(ending, "mjpeg", pixels="yuvj420p") for ending in ("avi", "mov", "mkv")),
    Written("mov", "prores_ks", pixels="yuv422p10le"),
    Written("mov", "qtrle", pixels="rgb24"),
    Written("mkv", "ffv1"),
    Written("avi", "huffyuv", pixels="rgb24"),
    Written("gif", "gif", pixels="rgb8"),
    Written("apng", "apng", pixels="rgb24"),
    Written("dv", "dvvideo", size=(576, 720)),
    *(Written("mp4", "libx264", X264, size=(HEIGHT, width)) for width in (2, 4, 6, 8, 12, 16, 24, 72)),
    *(Written("mov", "png", pixels="rgb24", size=(HEIGHT, width)) for width in (1, 3, 15, 25)),
]  # fmt: skip


def name(written: Written) -> str:
    """The id of a file for pytest."""
    special = "-open" if written.options == OPEN else "-refresh" if written.options == REFRESH else ""
    width = f"-{written.size[1]}" if written.size[1] != WIDTH else ""
    return f"{written.ending}-{written.codec}{special}{width}"


def write(path: Path, how: Written) -> None:
    """Write frames that all differ, with a moving pattern."""
    height, width = how.size
    generator = np.random.default_rng(0)
    texture = np.repeat(np.repeat(generator.integers(0, 255, (16, 32, 3), np.uint8), 8, axis=0), 8, axis=1)
    options = {"movflags": "faststart"} if how.ending in ("mp4", "mov") else {}
    with ordinary_priority(), av.open(str(path), "w", options=options) as container:
        try:
            stream = container.add_stream(how.codec, rate=25)
        except ValueError as error:  # an unknown encoder
            pytest.skip(f"this FFmpeg cannot write {how.codec}: {error}")
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt, stream.options = height, width, how.pixels, dict(how.options)
        for number in range(FRAMES):
            moved = np.roll(np.resize(texture, (max(height, 128), max(width, 256), 3)), -3 * number, axis=(0, 1))
            picture = np.ascontiguousarray(moved[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def in_order(path: Path) -> list[Tensor]:
    """All frames as FFmpeg decodes them from the start, on one thread."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        frames = [frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in container.decode(stream)]
    return [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]


def orders(frames: int) -> Sequence[Sequence[int]]:
    """Frame orders: ascending, every third, descending, random with repetitions."""
    chosen = random.Random(0).choices(range(frames), k=40)
    return [range(frames), range(0, frames, 3), range(frames - 1, -1, -1), chosen]


@pytest.mark.parametrize("how", MATRIX, ids=name)
def test_frames_are_those_of_decoding_in_order(tmp_path: Path, how: Written) -> None:
    path = tmp_path / f"clip.{how.ending}"
    write(path, how)
    expected = in_order(path)
    source = open_source(str(path))
    assert source.frames == len(expected)
    assert len(expected) >= FRAMES - 1
    for order in orders(source.frames):
        wrong = [number for number in order if not torch.equal(source.read(number), expected[number])]
        assert not wrong


def test_frames_are_rotated_as_the_file_specifies(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write(path, Written("mp4", "libx264", X264))
    upright = open_source(str(path)).read(5)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # of the track, version 0
    quarter = (0, 1, 0, -1, 0, 0, WIDTH, 0)  # clockwise, 16.16
    for place, value in enumerate(quarter):
        data[matrix + 4 * place : matrix + 4 * place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    turned = open_source(str(path))
    assert (turned.height, turned.width) == (WIDTH, HEIGHT)
    assert torch.equal(turned.read(5), upright.rot90(-1, (1, 2)))


def test_a_forked_reader_has_its_own_position(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write(path, Written("mp4", "libx264", X264))
    source = open_source(str(path))
    expected = source.read(20)
    loader = torch.utils.data.DataLoader(Numbers(source), batch_size=None, num_workers=2)
    for number, frame in enumerate(loader):
        assert torch.equal(frame, source.read(number))
    assert torch.equal(source.read(20), expected)


class Numbers(torch.utils.data.Dataset[Tensor]):
    """A source whose frames hold their number."""

    def __init__(self, source: VideoSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return 24

    def __getitem__(self, number: int) -> Tensor:
        return self.source.read(number)


def test_a_playlist_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", Written("mp4", "libx264", X264))
    for name, text in (
        ("a.mp4", "ffconcat version 1.0\nfile clip.mp4\n"),
        ("b.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.mp4\n#EXT-X-ENDLIST\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match="not a video FFmpeg can read"):
            open_source(str(tmp_path / name))


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "clip.mp4", Written("mp4", "libx264", X264))
    (tmp_path / "clip.mp4").rename(tmp_path / "col:on.mp4")
    monkeypatch.chdir(tmp_path)
    assert open_source("col:on.mp4").frames == FRAMES
