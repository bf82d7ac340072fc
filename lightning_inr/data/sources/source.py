"""The interface of a video source: frames by number, read when needed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from lightning_inr.errors import UserError
from lightning_inr.types import VideoShape, Window, crop


class VideoSource(ABC):
    """Frames by number, all of one size; a source does not keep the whole video in memory."""

    name: str  # of the video, for tables and charts
    matrix: str = "rgb"  # YCbCr matrix used: bt601, bt709, "file" (the file's own); "rgb": the source is RGB
    frames: int
    height: int
    width: int
    fps: float
    start_seconds: float = 0.0  # time of frame 0 in the original video, seconds

    @property
    def shape(self) -> VideoShape:
        """The shape for which a model is built."""
        return VideoShape(self.frames, self.height, self.width, self.fps)

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""

    def trim_to_stride(self, stride: int) -> "VideoSource":
        """The part of the video up to its last `stride`-th frame, so that it ends with a training frame."""
        if not isinstance(stride, int) or not 1 <= stride < max(2, self.frames):
            most = max(1, self.frames - 1)
            raise UserError(f"stride={stride}: the video has {self.frames} frames; choose 1 to {most}")
        frames = (self.frames - 1) // stride * stride + 1
        return self if frames == self.frames else TransformedSource(self, frames=frames)


OpenSource = Callable[[], VideoSource]  # opens a video when it is needed; picklable, for other processes


class ClipOptions(TypedDict, total=False):
    """Options of every dataset that select a part of a video and its size."""

    first: int  # number of the first frame, from 0
    frames: int | None  # number of frames; None: all
    most_frames: int | None  # upper limit of the number of frames; None: no limit
    sample_fps: float | None  # frames per second that are kept, the others are left out; None: all
    crop: Sequence[int] | None  # height, width of the central part that is kept, pixels; None: all
    height: int | None  # after resizing, pixels; one side alone keeps the aspect ratio
    width: int | None  # after resizing, pixels


class TransformedSource(VideoSource):
    """Another source, cut in time, cropped to its middle, and resized: by area if smaller, bicubic if larger."""

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
        self.fps, self.start_seconds = source.fps / self.step, source.start_seconds + first / source.fps
        left = len(range(first, source.frames, self.step))
        if frames is not None and frames > left:
            part = f", {left} from {first} on" if first else ""
            part += f" at dataset.sample_fps={sample_fps}" if sample_fps else ""
            raise UserError(f"dataset.frames={frames}: the video has {source.frames} frames{part}; choose no more")
        self.frames = min(frames or left, most_frames or left)
        self.crop_window = _central_window(source, crop)
        window = self.crop_window
        self.height = height or (round(window.height * width / window.width) if width else window.height) or 1
        self.width = width or (round(window.width * height / window.height) if height else window.width) or 1

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        frame = self.source.read(self.first + index * self.step)
        return resize(crop(frame, self.crop_window), (self.height, self.width))


def adapt(source: VideoSource, **part: Unpack[ClipOptions]) -> VideoSource:
    """The `part` of `source`; `source` itself if the part is all of it."""
    wanted = {name: value for name, value in part.items() if value is not None}
    return source if wanted in ({}, {"first": 0}) else TransformedSource(source, **part)


def _central_window(source: VideoSource, wanted: Sequence[int] | None) -> Window:
    if wanted is None:
        return Window(0, 0, source.height, source.width)
    if len(wanted) != 2 or not (1 <= wanted[0] <= source.height and 1 <= wanted[1] <= source.width):
        size = f"up to {source.height}x{source.width}"
        raise UserError(f"dataset.crop={list(wanted)}: give [height,width] {size}, the size of the video")
    height, width = wanted
    return Window((source.height - height) // 2, (source.width - width) // 2, height, width)


def resize(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) uint8 -> (3, *size) uint8: by area if no side grows, else bicubic."""
    if tuple(frame.shape[1:]) == size:
        return frame
    pixels = frame[None].float()
    if size[0] <= frame.shape[1] and size[1] <= frame.shape[2]:
        resized = F.interpolate(pixels, size, mode="area")
    else:
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True)
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)
