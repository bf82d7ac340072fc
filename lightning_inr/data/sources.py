"""Where frames come from: any video FFmpeg reads, a folder of images, raw `.yuv`, `.y4m`.

A source gives single frames at random; none holds the video.
"""

import math
import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lightning_inr.data.colour import rgb_from_planes
from lightning_inr.errors import UserError
from lightning_inr.paths import existing

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


class VideoSource(ABC):
    """Frames by number, all of one size."""

    frames: int
    height: int
    width: int
    fps: float

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""


class ImageFolder(VideoSource):
    """Images in the order of their names. Grey becomes RGB, transparency is dropped onto black."""

    def __init__(self, path: Path, fps: float = 25.0) -> None:
        self.files = sorted(
            file for file in path.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith(".")
        )
        if not self.files:
            raise UserError(f"dataset.path={path}: no images in this folder; expected {', '.join(sorted(IMAGES))}")
        sizes = Counter(self._size(file) for file in self.files)
        if len(sizes) > 1:
            listed = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(3))
            raise UserError(f"dataset.path={path}: images of different sizes ({listed}); bring them to one size")
        self.width, self.height = next(iter(sizes))
        self.frames, self.fps = len(self.files), fps

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        try:
            with Image.open(self.files[index]) as image:
                if image.has_transparency_data:
                    rgba = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
                pixels = np.array(image.convert("RGB"))
        except OSError as error:
            raise UserError(f"{self.files[index]}: {error}; replace this image") from error
        return torch.from_numpy(pixels).permute(2, 0, 1)

    @staticmethod
    def _size(file: Path) -> tuple[int, int]:
        try:
            with Image.open(file) as image:
                return image.size
        except (UnidentifiedImageError, OSError) as error:
            raise UserError(f"{file}: not an image ({error}); remove or replace it") from error


class RawVideo(VideoSource):
    """8-bit planar 4:2:0: headerless `.yuv` (size from the name, as in `Beauty_1920x1080_120fps.yuv`) or `.y4m`."""

    def __init__(self, path: Path, matrix: str, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        self.path, self.matrix = path, matrix
        if path.suffix.lower() == ".y4m":
            self.width, self.height, self.fps, self.start, self.marker = self._y4m_header(path)
        else:
            named = re.search(r"(\d+)x(\d+)", path.stem)
            if size is None and named is None:
                raise UserError(f"{path}: raw video does not tell its size; put WIDTHxHEIGHT into its name")
            self.height, self.width = size or (int(named[2]), int(named[1]))  # type: ignore[index]
            rate = re.search(r"_(\d+)(?:fps)?(?:_|$)", path.stem)
            self.fps, self.start, self.marker = fps or (float(rate[1]) if rate else 25.0), 0, 0
        # Planes of odd sizes are rounded up, as FFmpeg does.
        self.chroma = (-(-self.height // 2), -(-self.width // 2))
        self.frame_bytes = self.height * self.width + 2 * math.prod(self.chroma)
        length = path.stat().st_size - self.start
        self.frames, rest = divmod(length, self.marker + self.frame_bytes)
        if self.frames == 0:
            raise UserError(f"{path}: {length} bytes hold no frame of {self.width}x{self.height}; check the size")
        if rest and not self.marker:
            raise UserError(
                f"{path}: {length} bytes are not whole frames of {self.width}x{self.height} 4:2:0; check the size"
            )
        if rest:
            warnings.warn(f"{path} is cut: {self.frames} whole frames are used, {rest} bytes are left out", stacklevel=2)

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8, by the colour matrix."""
        with self.path.open("rb") as file:
            file.seek(self.start + index * (self.marker + self.frame_bytes) + self.marker)
            data = np.fromfile(file, np.uint8, self.frame_bytes)
        luma, chroma = self.height * self.width, math.prod(self.chroma)
        planes = torch.from_numpy(data).split([luma, chroma, chroma])
        y = planes[0].view(self.height, self.width)
        return rgb_from_planes(y, planes[1].view(self.chroma), planes[2].view(self.chroma), self.matrix)

    @staticmethod
    def _y4m_header(path: Path) -> tuple[int, int, float, int, int]:
        """Width, height, fps, where the first frame starts, bytes of a frame's marker line."""
        with path.open("rb") as file:
            line, first = file.readline(4096), file.readline(4096)
        tokens = line.split()
        if not tokens or tokens[0] != b"YUV4MPEG2" or not first.startswith(b"FRAME"):
            raise UserError(f"{path}: not a YUV4MPEG2 file; convert it with FFmpeg")
        values = {token[:1].decode("latin1"): token[1:].decode("latin1") for token in tokens[1:]}
        if values.get("C", "420jpeg") not in ("420", "420jpeg", "420mpeg2", "420paldv"):
            raise UserError(f"{path}: pixel format C{values['C']}; only 8-bit 4:2:0 is read, convert it with FFmpeg")
        try:
            rate = Fraction(values.get("F", "25:1").replace(":", "/"))
            return int(values["W"]), int(values["H"]), float(rate), len(line), len(first)
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{path}: damaged YUV4MPEG2 header {line[:60]!r}; convert it with FFmpeg") from error


class CompressedVideo(VideoSource):
    """Any video FFmpeg reads: through decord, through PyAV where decord is missing or cannot open it.

    `matrix` overrides the file's colour matrix; decord always takes the file's own, so PyAV reads then.
    """

    def __init__(self, path: Path, matrix: str) -> None:
        self.path = path
        self.reader = _open_decord(path) if matrix == "file" else None
        if self.reader is None:
            self.reader = _PyAVReader(path, matrix)
        self.fps = self.reader.fps
        self.frames = self._readable(self.reader.frames)
        _, self.height, self.width = self.read(0).shape

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        return self.reader.read(index)  # type: ignore[union-attr]

    def _readable(self, claimed: int) -> int:
        """How many frames can be had: the count a damaged file claims is a promise."""
        if claimed == 0:
            raise UserError(f"dataset.path={self.path}: no readable frame in this video; give an undamaged file")
        if self._can_read(claimed - 1):
            return claimed
        least, most = 0, claimed - 1  # read(most) fails; everything below `least` is readable
        while least < most:
            middle = (least + most) // 2
            least, most = (middle + 1, most) if self._can_read(middle) else (least, middle)
        if least == 0:
            raise UserError(f"dataset.path={self.path}: no readable frame in this video; give an undamaged file")
        warnings.warn(f"{self.path} is damaged: {least} of {claimed} frames are readable and used", stacklevel=2)
        return least

    def _can_read(self, index: int) -> bool:
        try:
            self.read(index)
        except Exception:  # decord raises its own, unrelated, exception types
            return False
        return True


class _DecordReader:
    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.frames, self.fps = len(reader), float(reader.get_avg_fps())

    def read(self, index: int) -> Tensor:
        return torch.from_numpy(self.reader[index].asnumpy()).permute(2, 0, 1)


def _open_decord(path: Path) -> _DecordReader | None:
    try:
        import decord
    except ImportError:
        return None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        return _DecordReader(decord.VideoReader(str(path), num_threads=1))
    except Exception:  # PyAV tries next, and names the fault if it cannot either
        return None


class _PyAVReader:
    """Random access by seeking to the key frame before; reading in order decodes each frame once."""

    def __init__(self, path: Path, matrix: str) -> None:
        self.matrix = matrix
        try:
            self.container = av.open(str(path))
            self.stream = self.container.streams.video[0]
            self.times = sorted(
                packet.pts for packet in self.container.demux(self.stream) if packet.pts is not None and packet.size
            )
        except (av.FFmpegError, IndexError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it has no video stream"
            raise UserError(f"dataset.path={path}: not a video FFmpeg can read ({reason}); give another file") from error
        self.frames = len(self.times)
        self.fps = float(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.next, self.decoded = -1, iter(())

    def read(self, index: int) -> Tensor:
        if index != self.next:
            self.container.seek(self.times[index], stream=self.stream, backward=True)
            self.decoded = self.container.decode(self.stream)
        for frame in self.decoded:
            if frame.pts is not None and frame.pts >= self.times[index]:
                self.next = index + 1
                space = None if self.matrix == "file" else {"bt601": "ITU601", "bt709": "ITU709"}[self.matrix]
                pixels = frame.to_ndarray(format="rgb24", src_colorspace=space)
                return torch.from_numpy(pixels).permute(2, 0, 1)
        self.next = -1
        raise UserError(f"frame {index} cannot be decoded")


class Adapted(VideoSource):
    """Another source cut to its first `frames` and resized: by area when smaller, bicubic when larger."""

    def __init__(self, source: VideoSource, frames: int | None, height: int | None, width: int | None) -> None:
        self.source, self.fps = source, source.fps
        for name, value in (("frames", frames), ("height", height), ("width", width)):
            if value is not None and value < 1:
                raise UserError(f"dataset.{name}={value}: choose a whole number from 1")
        if frames is not None and frames > source.frames:
            raise UserError(f"dataset.frames={frames}: the video has {source.frames} frames; ask for no more")
        self.frames = frames or source.frames
        self.height = height or (round(source.height * width / source.width) if width else source.height) or 1
        self.width = width or (round(source.width * height / source.height) if height else source.width) or 1

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        return resize(self.source.read(index), (self.height, self.width))


def resize(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) uint8 -> (3, *size) uint8: by area where the frame shrinks, bicubic where it grows."""
    if tuple(frame.shape[1:]) == size:
        return frame
    shrinks = size[0] <= frame.shape[1] and size[1] <= frame.shape[2]
    pixels = frame[None].float()
    if shrinks:
        resized = F.interpolate(pixels, size, mode="area")
    else:
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True)
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)


def open_source(path: str, matrix: str = "file", fps: float | None = None) -> VideoSource:
    """The source for `path`: a folder of images, `.yuv`, `.y4m`, or any video; UserError if it is none."""
    if matrix not in ("file", "bt601", "bt709"):
        raise UserError(f"dataset.matrix={matrix}: choose file, bt601 or bt709")
    found = existing(path, "dataset.path")
    try:
        if found.is_dir():
            return ImageFolder(found, fps or 25.0)
        if found.suffix.lower() in (".yuv", ".y4m"):
            # Untagged raw video is BT.601 to FFmpeg, and so to those who convert with it.
            return RawVideo(found, "bt601" if matrix == "file" else matrix, fps=fps)
        if found.suffix.lower() in IMAGES:
            raise UserError(f"dataset.path={path}: one image; give a video, or the folder of its frames")
        return CompressedVideo(found, matrix)
    except OSError as error:
        raise UserError(f"dataset.path={path}: {error.strerror or error}; name a readable file") from error


def open_video(
    path: str,
    matrix: str = "file",
    fps: float | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> VideoSource:
    """A user's own video, cut to `frames` and resized; with one side given the other keeps the shape."""
    source = open_source(path, matrix, fps)
    if frames is None and height is None and width is None:
        return source
    return Adapted(source, frames, height, width)
