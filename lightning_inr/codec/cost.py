"""What painting a frame will cost, counted on tensors that have a shape and no memory."""

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

# What is painted beyond the frame and cut away: a stride's worth, which may be much of a small frame.
MOST_PADDING = 4  # times the frame
LITTLE = 2**20  # pixels that may be painted in any case


class FrameCost(NamedTuple):
    """Of one frame at the video's own size, painted alone."""

    pixels: int  # painted, before they are cut to the video's size
    multiply_adds: int  # of convolutions, matrix products and attention; look-ups and activations do not count
    numbers: int  # of the largest tensor


def frame_cost(model: VideoRepresentation) -> FrameCost:
    """Of a model on the device "meta"; nothing is computed and no memory is taken."""
    height, width = model.video.height, model.video.width
    rows = min(height, max(1, PIXELS_AT_ONCE // width)) if model.is_pixelwise else height
    counter = _Counter()
    with torch.no_grad(), torch.device("meta"), counter:
        model(torch.zeros(1), None, Window(0, 0, rows, width) if rows < height else None)
    return FrameCost(math.prod(model.padded_size), counter.multiply_adds * -(-height // rows), counter.numbers)


def check_cost(model: VideoRepresentation) -> None:
    """BitstreamError if a frame costs more than the limits in force allow; counted only where it might."""
    painted, frame = math.prod(model.padded_size), model.video.height * model.video.width
    if painted > max(MOST_PADDING * frame, LITTLE):
        raise BitstreamError(f"a frame of {frame} pixels is cut from {painted}; choose smaller strides")
    check_limit("pixels", painted, "a frame")
    limits, most = current_limits(), upper_bound(model)
    if most.multiply_adds <= limits.multiply_adds and most.numbers <= limits.numbers:
        return
    cost = frame_cost(model)
    check_limit("multiply_adds", cost.multiply_adds, "a frame")
    check_limit("numbers", cost.numbers, "a frame")


def upper_bound(model: VideoRepresentation) -> FrameCost:
    """More than a frame can cost, in a thousandth of the time: as if every weight counted for every pixel."""
    painted, state = math.prod(model.padded_size), model.state_dict()
    layers = [state[name] for role, names in model.coded_groups().items() if role not in PLACE_ROLES for name in names]
    widest = max((max(weight.shape[:2]) for weight in layers if weight.ndim), default=1)
    weights = sum(tensor.numel() for tensor in state.values())
    if any(isinstance(module, TransformerLayer) for module in model.modules()):
        weights += 2 * painted * widest  # all tokens with all others
    return FrameCost(painted, painted * weights * model.passes_per_frame, painted * widest)


class _Counter(TorchDispatchMode):
    """Adds up the multiply-adds of all operations inside, and keeps the size of the largest tensor."""

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
