"""What the header of a file claims, checked before it is believed: the model's shape and the table of its tensors."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from lightning_inr.codec.cost import check_cost
from lightning_inr.codec.entropy import CODERS
from lightning_inr.codec.limits import check_limit
from lightning_inr.codec.prediction import MOST_DIAGONALS, applies, diagonals
from lightning_inr.codec.quantize import MOST_BITS
from lightning_inr.errors import BitstreamError
from lightning_inr.models import build_on_meta
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import (
    FASTEST,
    LONGEST_SIDE,
    MOST_FRAMES,
    SLOWEST,
    EmbeddingSpace,
    GridLayout,
    TokenSpace,
    VideoShape,
)  # fmt: skip

FLOATS: dict[int, np.dtype[Any]] = {16: np.dtype("<f2"), 32: np.dtype("<f4")}
WIDEST_SPACE = 2**14  # numbers a vector or a token of a teacher's
MOST_TOKENS = 2**20  # of a video
# A tensor of one repeated value costs next to nothing, so a section may hold more parameters than bits;
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


class Video(msgspec.Struct, forbid_unknown_fields=True):
    """The shape of the video as the header has it."""

    frames: int
    height: int
    width: int
    fps: float
    stride: int = 1


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """All keys of a header but that of its sections; every type is strict."""

    model: str
    video: Video
    config: dict[str, Any]  # whose values the model checks
    tensors: list[Entry]
    space: EmbeddingSpace | None = None  # None too in files older than teachers
    token_space: TokenSpace | None = None


def checked_model(values: dict[str, Any], sections: Mapping[str, int]) -> tuple[VideoRepresentation, list[Entry]]:
    """The model without memory for its tensors, and the table of them.

    `sections`: bytes a role. BitstreamError if these cannot be it, or ask for more than the limits in force.
    """
    try:
        header = msgspec.convert(values, Header)
        video = VideoShape(**msgspec.structs.asdict(header.video))
        _check_spaces(header, video)
        model = build_on_meta(header.model, video, header.space, header.token_space, **header.config)
        _check_entries(header.tensors, model, sections)
        check_cost(model)
    except BitstreamError:
        raise
    # A header is foreign data: whatever it makes the constructors stumble over is the header's fault.
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError, AttributeError, IndexError) as error:
        line = str(error).partition("\n")[0] or repr(error)
        raise BitstreamError(f"this .linr cannot be built here: {line:.200}; fetch the file again or update") from error
    return model, header.tensors


def _check_spaces(header: Header, video: VideoShape) -> None:
    if video.fault:
        raise BitstreamError(f"damaged .linr: its video has {video.fault}")
    if header.space is not None:
        if not 1 <= header.space.width <= WIDEST_SPACE:
            raise BitstreamError(f"damaged .linr: it claims a teacher of width {header.space.width}")
        check_limit("numbers", video.frames * header.space.width, "the vectors of all frames")
    if header.token_space is not None:
        _check_tokens(header.token_space, video)


def _check_tokens(space: TokenSpace, video: VideoShape) -> None:
    sampling = space.sampling
    counts = (space.tokens, space.width, sampling.frames, sampling.height, sampling.width)
    if min(counts) < 1 or space.groups < 0:
        raise BitstreamError("damaged .linr: its tokens are not described; fetch the file again")
    most = max(video.frames, 2)  # a model that reads frames in pairs is shown a single one twice
    timed = 1 / FASTEST <= sampling.seconds <= MOST_FRAMES / SLOWEST
    if not timed or sampling.frames > most or max(sampling.height, sampling.width) > LONGEST_SIDE:
        raise BitstreamError(f"damaged .linr: it claims to show {tuple(sampling)} of {video.frames} frames")
    if space.width > WIDEST_SPACE or space.tokens > MOST_TOKENS:
        raise BitstreamError(f"damaged .linr: it claims {space.tokens} tokens of width {space.width}")


def _check_entries(entries: list[Entry], model: VideoRepresentation, sections: Mapping[str, int]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    groups = {name: role for role, names in model.coded_groups().items() for name in names}
    if {entry.name: entry.shape for entry in entries} != expected or len(entries) != len(expected):
        raise BitstreamError("damaged .linr: its tensors are not those of its model; fetch the file again")
    for entry in entries:
        floats = entry.coder is entry.levels is None and entry.bits in FLOATS
        counted = entry.levels is not None and 2 <= entry.levels <= 2**MOST_BITS
        symbols = entry.coder in CODERS and entry.bits is None and counted
        axis = entry.axis is None or 0 <= entry.axis < len(entry.shape)
        foretold = counted and entry.axis is None and applies(str(entry.prediction), entry.shape)
        axis &= entry.prediction is None or foretold
        axis &= entry.layout is None or entry.layout == model.grid_layout(entry.name)
        if not ((floats or symbols) and axis and groups[entry.name] == entry.role):
            raise BitstreamError(f"damaged .linr: tensor {entry.name} is described as {tuple(entry)!s:.200}")
    check_limit("parameters", sum(entry.numel for entry in entries), "this .linr")
    if diagonals(entry.shape for entry in entries if entry.prediction == "around") > MOST_DIAGONALS:
        raise BitstreamError("damaged .linr: its predictions would take too long to undo; fetch the file again")
    _check_sections(entries, sections)


def _check_sections(entries: list[Entry], sections: Mapping[str, int]) -> None:
    """One a role, each large enough for what it is said to hold."""
    claimed: dict[str, int] = {}
    for entry in entries:
        claimed[entry.role] = claimed.get(entry.role, 0) + entry.numel
    if set(claimed) != set(sections):
        raise BitstreamError("damaged .linr: its sections are not those of its tensors; fetch the file again")
    for role, numbers in claimed.items():
        if numbers > sections[role] * PARAMETERS_PER_BYTE:
            raise BitstreamError(
                f"damaged .linr: {sections[role]} bytes claim to hold {numbers} parameters; fetch the file again"
            )
