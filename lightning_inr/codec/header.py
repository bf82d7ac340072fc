"""What the header of a file claims, checked before it is believed: the model's shape and the table of its tensors."""

import math
from typing import Any, NamedTuple

import numpy as np

from lightning_inr.codec.entropy import CODERS
from lightning_inr.codec.prediction import applies
from lightning_inr.codec.quantize import MOST_BITS
from lightning_inr.errors import BitstreamError
from lightning_inr.models import blueprint
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import EmbeddingSpace, GridLayout, Showing, TokenSpace, VideoShape

FLOATS: dict[int, np.dtype[Any]] = {16: np.dtype("<f2"), 32: np.dtype("<f4")}
LONGEST_SIDE = 2**16  # pixels
MOST_FRAMES = 2**24
WIDEST_SPACE = 2**14  # numbers a vector or a token of a teacher's
MOST_TOKENS = 2**20  # of a video
# A tensor of one repeated value costs next to nothing, so a file may hold more parameters than bits;
# but not without end, or a small file could claim terabytes.
PARAMETERS_PER_BYTE = 1024


class Entry(NamedTuple):
    """A line of the header's tensor table."""

    name: str
    role: str
    shape: tuple[int, ...]
    levels: int | None  # how many symbols there are; None for floats
    bits: int | None  # 16 or 32 for floats; None for symbols
    axis: int | None  # of the quantisation ranges; None: one range
    coder: str | None  # None for floats
    prediction: str | None = None  # what its symbols are differences from; None: symbols as they are
    layout: GridLayout | None = None  # of a table that is coded as coefficients of its transform

    @property
    def numel(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def quantized(self) -> bool:
        """Whether it is coded as symbols."""
        return self.levels is not None

    @property
    def channels(self) -> int:
        """How many quantisation ranges it has."""
        return 1 if self.axis is None else self.shape[self.axis]


def checked_blueprint(header: dict[str, Any], size: int) -> tuple[VideoRepresentation, list[Entry]]:
    """The model without memory for its tensors, and the table of them; BitstreamError if `size` bytes cannot be it."""
    try:
        video = VideoShape(**header["video"])
        _check_video(video)
        model = blueprint(header["model"], video, _space(header), _token_space(header, video), **header["config"])
        entries = [_entry(*line) for line in header["tensors"]]
        _check_entries(entries, model, size)
    except BitstreamError:
        raise
    # A header is foreign data: whatever it makes the constructors stumble over is the header's fault.
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError, AttributeError, IndexError) as error:
        line = str(error).splitlines()[0] if str(error) else repr(error)
        raise BitstreamError(f"this .linr cannot be built here: {line}; fetch the file again or update") from error
    return model, entries


def _space(header: dict[str, Any]) -> EmbeddingSpace | None:
    """Whose language `semantic` speaks; None where nobody taught it, as in files older than teachers."""
    if header.get("space") is None:
        return None
    space = EmbeddingSpace(*header["space"])
    if not (isinstance(space.teacher, str) and isinstance(space.fingerprint, str)):
        raise BitstreamError("damaged .linr: its teacher has no name; fetch the file again")
    if not (isinstance(space.width, int) and 1 <= space.width <= WIDEST_SPACE):
        raise BitstreamError(f"damaged .linr: it claims a teacher of width {space.width}")
    return space


def _token_space(header: dict[str, Any], video: VideoShape) -> TokenSpace | None:
    """Which video language model its projector speaks to; None where it has none."""
    if header.get("token_space") is None:
        return None
    space = TokenSpace(*header["token_space"])
    space = space._replace(showing=Showing(*space.showing))
    showing = space.showing
    counts = (space.tokens, space.width, showing.frames, showing.height, showing.width)
    sound = all(isinstance(count, int) and count > 0 for count in counts)
    sound &= isinstance(space.groups, int) and space.groups >= 0
    if not (sound and isinstance(space.model, str) and isinstance(space.fingerprint, str)):
        raise BitstreamError("damaged .linr: its tokens are not described; fetch the file again")
    timed = isinstance(showing.seconds, int | float) and 0 < showing.seconds < math.inf
    most = max(video.frames, 2)  # a model that reads frames in pairs is shown a single one twice
    if not timed or showing.frames > most or max(showing.height, showing.width) > LONGEST_SIDE:
        raise BitstreamError(f"damaged .linr: it claims to show {tuple(showing)} of {video.frames} frames")
    if space.width > WIDEST_SPACE or space.tokens > MOST_TOKENS:
        raise BitstreamError(f"damaged .linr: it claims {space.tokens} tokens of width {space.width}")
    return space


def _check_video(video: VideoShape) -> None:
    counts = (video.frames, video.height, video.width, video.stride)
    sound = all(isinstance(count, int) and count > 0 for count in counts) and 0 < float(video.fps) < math.inf
    if not sound or video.frames > MOST_FRAMES or max(video.height, video.width) > LONGEST_SIDE:
        raise BitstreamError(f"damaged .linr: it claims a video of {tuple(video)}")


def _entry(
    name: str, role: str, shape: list[int], levels: Any, bits: Any, axis: Any, coder: Any, prediction: Any = None,
    layout: Any = None,
) -> Entry:  # fmt: skip
    if layout is not None:
        groups, *sides = layout
        layout = GridLayout(tuple(groups), *sides)
    return Entry(name, role, tuple(shape), levels, bits, axis, coder, prediction, layout)


def _check_entries(entries: list[Entry], model: VideoRepresentation, size: int) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    groups = {name: role for role, names in model.coded_groups().items() for name in names}
    if {entry.name: entry.shape for entry in entries} != expected or len(entries) != len(expected):
        raise BitstreamError("damaged .linr: its tensors are not those of its model; fetch the file again")
    for entry in entries:
        floats = entry.coder is entry.levels is None and entry.bits in FLOATS
        counted = isinstance(entry.levels, int) and 2 <= entry.levels <= 2**MOST_BITS
        symbols = entry.coder in CODERS and entry.bits is None and counted
        axis = entry.axis is None or (isinstance(entry.axis, int) and 0 <= entry.axis < len(entry.shape))
        foretold = counted and entry.axis is None and applies(str(entry.prediction), entry.shape)
        axis &= entry.prediction is None or foretold
        axis &= entry.layout is None or entry.layout == model.grid_layout(entry.name)
        if not ((floats or symbols) and axis and groups[entry.name] == entry.role):
            raise BitstreamError(f"damaged .linr: tensor {entry.name} is described as {tuple(entry)}")
    claimed = sum(entry.numel for entry in entries)
    if claimed > size * PARAMETERS_PER_BYTE:
        raise BitstreamError(f"damaged .linr: {size} bytes claim to hold {claimed} parameters; fetch the file again")
