"""The values that travel between rooms."""

from typing import NamedTuple

from torch import Tensor

LONGEST_SIDE = 2**16  # pixels
MOST_FRAMES = 2**24
SLOWEST, FASTEST = 0.01, 10_000.0  # frames a second


class VideoShape(NamedTuple):
    """What a model must know of a video before it is built, and a file must say of itself."""

    frames: int
    height: int  # pixels
    width: int  # pixels
    fps: float
    stride: int = 1  # every stride-th frame, the first and the last among them, is seen by training

    @property
    def training_frames(self) -> range:
        """The numbers of the frames that training sees; those between are held out."""
        return range(0, self.frames, self.stride)

    @property
    def fault(self) -> str | None:
        """Which of its numbers no video has, and which ones it could have; None if it is sound."""
        counts = {"frames": MOST_FRAMES, "height": LONGEST_SIDE, "width": LONGEST_SIDE, "stride": MOST_FRAMES}
        for name, most in counts.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                return f"{name} {value!r:.50}: a whole number from 1 to {most}"
        if type(self.fps) not in (int, float) or not SLOWEST <= self.fps <= FASTEST:  # NaN neither
            return f"fps {self.fps!r:.50}: a number from {SLOWEST:g} to {FASTEST:g}"
        return None

    def spread(self, count: int) -> list[int]:
        """The numbers of `count` frames evenly spread over the video, the first and the last among them."""
        last = self.frames - 1
        return [round(place * last / max(1, count - 1)) for place in range(count)]


class Window(NamedTuple):
    """A rectangle of pixels inside a frame."""

    top: int
    left: int
    height: int
    width: int


class FrameBatch(NamedTuple):
    """Frames (B, 3, h, w), uint8 on the host and [0, 1] on the device, at the float positions `index` (B,)."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a batch
    frames: Tensor
    window: Window | None = None
    teacher: Tensor | None = None  # (B, S), what a teacher sees in each frame, of length 1


class EmbeddingSpace(NamedTuple):
    """Where vectors can be compared: those of one teacher, with one set of weights and one way to prepare a frame."""

    teacher: str  # for people: the model and where its weights came from
    fingerprint: str  # of weights and preprocessing, in hexadecimal: what decides
    width: int  # numbers a vector


class FrameSampling(NamedTuple):
    """What a video language model is shown of a video: frames evenly spread over it (`VideoShape.spread`)."""

    frames: int
    height: int  # pixels, as shown
    width: int  # pixels, as shown
    seconds: float  # between two of them


class TokenSpace(NamedTuple):
    """What a video language model makes of such a showing, before anything is asked."""

    model: str  # for people: a hub id or a folder
    fingerprint: str  # of what reads the tokens, in hexadecimal: what decides
    tokens: int  # that differ from video to video
    groups: int  # in so many groups in the order of time; 0: each is of the whole clip
    width: int  # numbers a token
    sampling: FrameSampling


class GridLayout(NamedTuple):
    """How a table over time is laid out: (slices, rows * columns, channels), the slices of a shot in one group."""

    groups: tuple[int, ...]  # slices a shot
    rows: int
    columns: int
    channels: int

    @property
    def slices(self) -> int:
        """Over all shots."""
        return sum(self.groups)


def crop(frames: Tensor, window: Window) -> Tensor:
    """The `window` of frames (..., H, W)."""
    return frames[..., window.top : window.top + window.height, window.left : window.left + window.width]
