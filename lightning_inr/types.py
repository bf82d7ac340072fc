"""The values that travel between rooms."""

from typing import NamedTuple

from torch import Tensor


class VideoShape(NamedTuple):
    """What a model must know of a video before it is built, and a file must say of itself."""

    frames: int
    height: int  # pixels
    width: int  # pixels
    fps: float


class Window(NamedTuple):
    """A rectangle of pixels inside a frame."""

    top: int
    left: int
    height: int
    width: int


class FrameBatch(NamedTuple):
    """Frames (B, 3, h, w), uint8 on the host and [0, 1] on the device, at `index` (B,)."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a batch
    frames: Tensor
    window: Window | None = None
