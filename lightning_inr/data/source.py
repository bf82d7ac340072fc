"""What a video is to the rest of the house: frames by number. No source holds the whole video."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from lightning_inr.errors import UserError
from lightning_inr.types import VideoShape, Window, crop


class VideoSource(ABC):
    """Frames by number, all of one size."""

    name: str  # of the video, for tables and charts
    matrix: str = "rgb"  # how YCbCr became RGB: bt601, bt709, "file" (as the file says itself), or rgb: it was RGB
    frames: int
    height: int
    width: int
    fps: float
    begins: float = 0.0  # where frame 0 lies in the video as it was published, seconds

    @property
    def shape(self) -> VideoShape:
        """What a model is built for."""
        return VideoShape(self.frames, self.height, self.width, self.fps)

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""

    def trim_to_stride(self, stride: int) -> "VideoSource":
        """The part of the video whose last frame is among every `stride`-th one: past it nothing lies between."""
        if not isinstance(stride, int) or not 1 <= stride < max(2, self.frames):
            most = max(1, self.frames - 1)
            raise UserError(f"stride={stride}: the video has {self.frames} frames; choose 1 to {most}")
        frames = (self.frames - 1) // stride * stride + 1
        return self if frames == self.frames else TransformedSource(self, frames=frames)


class ClipOptions(TypedDict, total=False):
    """Which part of a video is meant, and at what size; every dataset takes these options."""

    first: int  # number of the first frame, from 0
    frames: int | None  # so many from there; None: all
    most_frames: int | None  # no more than so many
    sample_fps: float | None  # so many a second are kept, the others left out; None: all
    crop: Sequence[int] | None  # height, width of the middle that is kept
    height: int | None  # resized to; one alone keeps the shape
    width: int | None


class TransformedSource(VideoSource):
    """Another source cut in time, cropped to its middle, and resized: by area when smaller, bicubic when larger."""

    def __init__(
        self,
        source: VideoSource,
        first: int = 0,
        frames: int | None = None,
        most_frames: int | None = None,
        sample_fps: float | None = None,
        crop: Sequence[int] | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> None:
        self.source, self.first = source, first
        self.name, self.matrix = source.name, source.matrix
        sizes = (("frames", frames), ("most_frames", most_frames), ("height", height), ("width", width))
        for name, value in sizes:
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UserError(f"dataset.{name}={value}: choose a whole number from 1")
        if not 0 <= first < source.frames:
            raise UserError(f"dataset.first={first}: the video has frames 0 to {source.frames - 1}")
        if sample_fps is not None and not sample_fps > 0:
            raise UserError(f"dataset.sample_fps={sample_fps}: choose a number above 0")
        self.step = max(1, round(source.fps / sample_fps)) if sample_fps else 1
        self.fps, self.begins = source.fps / self.step, source.begins + first / source.fps
        left = len(range(first, source.frames, self.step))
        if frames is not None and frames > left:
            part = f", {left} from {first} on" if first else ""
            part += f" at dataset.sample_fps={sample_fps}" if sample_fps else ""
            raise UserError(f"dataset.frames={frames}: the video has {source.frames} frames{part}; ask for no more")
        self.frames = min(frames or left, most_frames or left)
        self.middle = _middle(source, crop)
        kept = self.middle
        self.height = height or (round(kept.height * width / kept.width) if width else kept.height) or 1
        self.width = width or (round(kept.width * height / kept.height) if height else kept.width) or 1

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        frame = self.source.read(self.first + index * self.step)
        return resize(crop(frame, self.middle), (self.height, self.width))


def adapt(source: VideoSource, **part: Unpack[ClipOptions]) -> VideoSource:
    """The `part` of `source` that is meant: itself, if that is all of it."""
    wanted = {name: value for name, value in part.items() if value is not None}
    return source if wanted in ({}, {"first": 0}) else TransformedSource(source, **part)


def _middle(source: VideoSource, wanted: Sequence[int] | None) -> Window:
    if wanted is None:
        return Window(0, 0, source.height, source.width)
    if len(wanted) != 2 or not (1 <= wanted[0] <= source.height and 1 <= wanted[1] <= source.width):
        size = f"up to {source.height}x{source.width}"
        raise UserError(f"dataset.crop={list(wanted)}: give [height,width] {size}, the size of the video")
    height, width = wanted
    return Window((source.height - height) // 2, (source.width - width) // 2, height, width)


def resize(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) uint8 -> (3, *size) uint8: by area where the frame shrinks, bicubic where it grows."""
    if tuple(frame.shape[1:]) == size:
        return frame
    pixels = frame[None].float()
    if size[0] <= frame.shape[1] and size[1] <= frame.shape[2]:
        resized = F.interpolate(pixels, size, mode="area")
    else:
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True)
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)
