"""The cost of rendering a frame, counted on tensors of the device "meta", which take no memory."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lightning_inr.codec.limits import check_limit, current_limits
from lightning_inr.errors import BitstreamError
from lightning_inr.models.base import PIXELS_AT_ONCE, PLACE_ROLES, VideoRepresentation
from lightning_inr.nn.attention import TransformerLayer
from lightning_inr.types import Window

# Rendered pixels including those cropped away: less than a stride per side, which may be much of a small frame.
MOST_PADDING = 4  # times the pixels of the frame
UNCHECKED_PIXELS = 2**20  # pixels that may be rendered in any case


class FrameCost(NamedTuple):
    """The cost of one frame at the video's own size, rendered alone."""

    pixels: int  # rendered, before cropping to the video's size
    multiply_adds: int  # of convolutions, matrix products and attention; look-ups and activations are not counted
    numbers: int  # elements of the largest tensor


def frame_cost(model: VideoRepresentation) -> FrameCost:
    """The cost for a model on the device "meta"; nothing is computed and no memory is taken."""
    height, width = model.video.height, model.video.width
    rows = min(height, max(1, PIXELS_AT_ONCE // width)) if model.is_pixelwise else height
    counter = _Counter()
    with torch.no_grad(), torch.device("meta"), counter:
        model(torch.zeros(1), None, Window(0, 0, rows, width) if rows < height else None)
    return FrameCost(math.prod(model.padded_size), counter.multiply_adds * -(-height // rows), counter.numbers)


def check_cost(model: VideoRepresentation) -> None:
    """BitstreamError if a frame costs more than the current limits; counted only if an upper bound exceeds them."""
    rendered, frame = math.prod(model.padded_size), model.video.height * model.video.width
    if rendered > max(MOST_PADDING * frame, UNCHECKED_PIXELS):
        raise BitstreamError(
            f"a frame of {frame} pixels is cropped from {rendered} rendered pixels; choose smaller strides"
        )
    check_limit("pixels", rendered, "a frame")
    limits, most = current_limits(), cost_upper_bound(model)
    if most.multiply_adds <= limits.multiply_adds and most.numbers <= limits.numbers:
        return
    cost = frame_cost(model)
    check_limit("multiply_adds", cost.multiply_adds, "a frame")
    check_limit("numbers", cost.numbers, "a frame")


def cost_upper_bound(model: VideoRepresentation) -> FrameCost:
    """An upper bound of `frame_cost` in a thousandth of the time: every weight is counted for every pixel."""
    rendered, state = math.prod(model.padded_size), model.state_dict()
    layers = [state[name] for role, names in model.coded_groups().items() if role not in PLACE_ROLES for name in names]
    widest = max((max(weight.shape[:2]) for weight in layers if weight.ndim), default=1)
    weights = sum(tensor.numel() for tensor in state.values())
    if any(isinstance(module, TransformerLayer) for module in model.modules()):
        weights += 2 * rendered * widest  # attention between all pairs of tokens
    return FrameCost(rendered, rendered * weights * model.passes_per_frame, rendered * widest)


class _Counter(TorchDispatchMode):
    """Sums the multiply-adds of all operations inside its context, and keeps the size of the largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.multiply_adds += int(count(*args, **(kwargs or {}), out_val=result)) // 2
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return result
