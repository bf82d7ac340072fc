"""Validation of a file's header before use: the video, the model and the table of its tensors."""

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np

from lightning_inr.codec.cost import check_cost
from lightning_inr.codec.entropy import CODERS
from lightning_inr.codec.limits import WIDEST_SPACE, check_embeddings, check_limit
from lightning_inr.codec.prediction import MOST_DIAGONALS, diagonals, is_applicable
from lightning_inr.codec.quantize import MOST_BITS
from lightning_inr.codec.schema import Entry, Header
from lightning_inr.errors import BitstreamError
from lightning_inr.models import build_on_meta
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import (
    FASTEST,
    LONGEST_SIDE,
    MOST_FRAMES,
    SLOWEST,
    TokenSpace,
    VideoShape,
)  # fmt: skip

FLOATS: dict[int, np.dtype[Any]] = {16: np.dtype("<f2"), 32: np.dtype("<f4")}
MOST_TOKENS = 2**20  # per video


def checked_model(values: dict[str, Any], roles: Collection[str]) -> tuple[VideoRepresentation, list[Entry]]:
    """The model on the device "meta", and its table of tensors, from the `values` of a header.

    `roles`: those of the file's sections. BitstreamError if the header is not valid or exceeds the current limits.
    """
    try:
        header = msgspec.convert(values, Header)
        video = VideoShape(**msgspec.structs.asdict(header.video))
        _check_spaces(header, video)
        model = build_on_meta(header.model, video, header.space, header.token_space, **header.config)
        _check_entries(header.tensors, model, roles)
        check_cost(model)
    except BitstreamError:
        raise
    # A header is foreign data: any error that it causes in a constructor is an error of the header.
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError, AttributeError, IndexError) as error:
        line = str(error).partition("\n")[0] or repr(error)
        raise BitstreamError(f"this .linr cannot be built here: {line:.200}; fetch the file again or update") from error
    return model, header.tensors


def _check_spaces(header: Header, video: VideoShape) -> None:
    if video.fault:
        raise BitstreamError(f"damaged .linr: its video has {video.fault}")
    if header.space is not None:
        check_embeddings(header.space.width, video.frames)
    if header.token_space is not None:
        _check_tokens(header.token_space, video)


def _check_tokens(space: TokenSpace, video: VideoShape) -> None:
    sampling = space.sampling
    counts = (space.tokens, space.width, sampling.frames, sampling.height, sampling.width)
    if min(counts) < 1 or space.groups < 0:
        raise BitstreamError("damaged .linr: its token space is not valid; fetch the file again")
    most = max(video.frames, 2)  # a model that reads frames in pairs gets a single one twice
    timed = 1 / FASTEST <= sampling.seconds <= MOST_FRAMES / SLOWEST
    if not timed or sampling.frames > most or max(sampling.height, sampling.width) > LONGEST_SIDE:
        raise BitstreamError(f"damaged .linr: its frame sampling is {tuple(sampling)}, for {video.frames} frames")
    if space.width > WIDEST_SPACE or space.tokens > MOST_TOKENS:
        raise BitstreamError(f"damaged .linr: its header states {space.tokens} tokens of width {space.width}")


def _check_entries(entries: list[Entry], model: VideoRepresentation, roles: Collection[str]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    groups = {name: role for role, names in model.coded_groups().items() for name in names}
    if {entry.name: entry.shape for entry in entries} != expected or len(entries) != len(expected):
        raise BitstreamError("damaged .linr: its tensors are not those of its model; fetch the file again")
    for entry in entries:
        floats = entry.coder is None and entry.levels is None and entry.bits in FLOATS
        counted = entry.levels is not None and 2 <= entry.levels <= 2**MOST_BITS
        symbols = entry.coder in CODERS and entry.bits is None and counted
        axis = entry.axis is None or 0 <= entry.axis < len(entry.shape)
        predicted = counted and entry.axis is None and is_applicable(str(entry.prediction), entry.shape)
        axis &= entry.prediction is None or predicted
        axis &= entry.layout is None or entry.layout == model.grid_layout(entry.name)
        if not ((floats or symbols) and axis and groups[entry.name] == entry.role):
            raise BitstreamError(f"damaged .linr: tensor {entry.name} is described as {tuple(entry)!s:.200}")
    check_limit("parameters", sum(entry.numel for entry in entries), "this .linr")
    if diagonals(entry.shape for entry in entries if entry.prediction == "around") > MOST_DIAGONALS:
        raise BitstreamError("damaged .linr: its predictions would take too long to decode; fetch the file again")
    # A tensor of one repeated value costs almost nothing, so the bytes of a section are no bound of its parameters.
    if {entry.role for entry in entries} != set(roles):
        raise BitstreamError("damaged .linr: its sections are not those of its tensors; fetch the file again")
