"""Value types shared by all packages: video shapes, frame batches, embedding and token spaces, grid layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the header of a file is read without torch
    from torch import Tensor

LONGEST_SIDE = 2**16  # pixels
MOST_FRAMES = 2**24
SLOWEST, FASTEST = 0.01, 10_000.0  # frames a second


class VideoShape(NamedTuple):
    """Size, frame rate and stride of a video: needed to build a model, and stored in the header of a file."""

    frames: int
    height: int  # pixels
    width: int  # pixels
    fps: float
    stride: int = 1  # training uses every stride-th frame, including the first and the last

    @property
    def training_frames(self) -> range:
        """The numbers of the training frames; the frames between them are held-out frames."""
        return range(0, self.frames, self.stride)

    @property
    def fault(self) -> str | None:
        """The first invalid field, its value and the allowed values; None if all fields are valid."""
        counts = {"frames": MOST_FRAMES, "height": LONGEST_SIDE, "width": LONGEST_SIDE, "stride": MOST_FRAMES}
        for name, most in counts.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                return f"{name} {value!r:.50}: a whole number from 1 to {most}"
        if type(self.fps) not in (int, float) or not SLOWEST <= self.fps <= FASTEST:  # rejects NaN, too
            return f"fps {self.fps!r:.50}: a number from {SLOWEST:g} to {FASTEST:g}"
        return None

    def spread(self, count: int) -> list[int]:
        """The numbers of `count` frames spaced evenly over the video, including the first and the last."""
        last = self.frames - 1
        return [round(place * last / max(1, count - 1)) for place in range(count)]


class Window(NamedTuple):
    """A rectangle of pixels inside a frame."""

    top: int
    left: int
    height: int
    width: int


class FrameBatch(NamedTuple):
    """Frames (B, 3, h, w), uint8 on the host and [0, 1] on the device, at the frame positions `index` (B,)."""

    index: Tensor  # type: ignore[assignment]  # overrides tuple.index, which no caller uses
    frames: Tensor
    window: Window | None = None
    teacher: Tensor | None = None  # (B, S), the teacher embedding of each frame, of length 1


class EmbeddingSpace(NamedTuple):
    """The space of one teacher with one set of weights and one preprocessing; only its own vectors are comparable."""

    teacher: str  # for display: the model and the origin of its weights
    fingerprint: str  # hexadecimal hash of weights and preprocessing, by which spaces are compared
    width: int  # numbers per vector


class FrameSampling(NamedTuple):
    """The frames that a video language model gets, spaced evenly over the video (`VideoShape.spread`)."""

    frames: int
    height: int  # pixels, after resizing
    width: int  # pixels, after resizing
    seconds: float  # between two sampled frames


class TokenSpace(NamedTuple):
    """The visual tokens that a video language model computes from one frame sampling, whatever the question."""

    model: str  # for display: a hub id or a folder
    fingerprint: str  # hexadecimal hash of the part that reads the tokens, by which spaces are compared
    tokens: int  # per video; tokens that are equal for all videos are not counted
    groups: int  # groups of tokens in temporal order; 0: every token depends on the whole clip
    width: int  # numbers per token
    sampling: FrameSampling


class GridLayout(NamedTuple):
    """Layout of a grid over time: (slices, rows * columns, channels), the slices of a shot in one group."""

    groups: tuple[int, ...]  # slices per shot
    rows: int
    columns: int
    channels: int

    @property
    def slices(self) -> int:
        """Number of slices over all shots."""
        return sum(self.groups)


def crop(frames: Tensor, window: Window) -> Tensor:
    """The rectangle `window` of frames (..., H, W)."""
    return frames[..., window.top : window.top + window.height, window.left : window.left + window.width]
