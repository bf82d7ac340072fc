"""The header of a file as typed values; imports no torch."""

import math
from typing import Any, NamedTuple

import msgspec

from lightning_inr.types import EmbeddingSpace, GridLayout, TokenSpace


class Entry(NamedTuple):
    """An entry of the header's table of tensors."""

    name: str
    role: str
    shape: tuple[int, ...]
    levels: int | None  # size of the alphabet of symbols; None for floats
    bits: int | None  # 16 or 32 for floats; None for symbols
    axis: int | None  # axis with one quantisation range per index; None: one range in all
    coder: str | None  # None for floats
    prediction: str | None = None  # name of the prediction of its symbols; None: symbols are not predicted
    layout: GridLayout | None = None  # of a grid that is coded as coefficients of its transform

    @property
    def numel(self) -> int:
        """The number of elements of the tensor."""
        return math.prod(self.shape)

    @property
    def quantized(self) -> bool:
        """Whether the tensor is coded as symbols."""
        return self.levels is not None

    @property
    def channels(self) -> int:
        """The number of quantisation ranges."""
        return 1 if self.axis is None else self.shape[self.axis]


class VideoHeader(msgspec.Struct, forbid_unknown_fields=True):
    """The shape of the video as the header stores it."""

    frames: int
    height: int
    width: int
    fps: float
    stride: int = 1


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """All keys of a header except `sections`; types are checked strictly."""

    model: str
    video: VideoHeader
    config: dict[str, Any]  # its values are checked by the model
    tensors: list[Entry]
    space: EmbeddingSpace | None = None  # None, too, in files from before teachers existed
    token_space: TokenSpace | None = None


class FileSegment(NamedTuple):
    """An entry of the table of segments of a file."""

    frames: int
    length: int  # bytes
    crc: int  # that of the segment's own header, which has those of its sections


class SegmentedHeader(msgspec.Struct, forbid_unknown_fields=True):
    """All keys of the header of a file of several segments."""

    video: VideoHeader  # of all segments together
    segments: list[FileSegment]  # in the order of the video and of the file
    space: EmbeddingSpace | None = None  # of every segment
