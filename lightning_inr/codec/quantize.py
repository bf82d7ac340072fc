"""Uniform quantisation of tensors: q = round((w − low) / step), of `levels` symbols.

Min–max (Latent-INR, Eq. 3 as corrected): low and high are the extremes, step = (high − low) / (levels − 1).
Learned (C-NeRV, section 3): step and offset come from training, low and high are the grid points that are used.
A file stores low and high, not the step: a decoded tensor then has the same extremes as its source, and encoding it
again gives the same symbols.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_BITS = 12  # of a symbol; 16 and 32 bits denote floats
NUMBERS_AT_ONCE = 2**20  # per channel


class QuantizationStep(NamedTuple):
    """A learned grid: the values offset + size * integer."""

    size: float
    offset: float


class Quantized(NamedTuple):
    """Symbols (numel,) int32 in [0, levels) and the lowest and highest level of each channel, float32 (channels,)."""

    symbols: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    levels: int


def quantize(tensor: Tensor, levels: int, axis: int | None) -> Quantized:
    """Quantise `tensor` between its smallest and largest value, separately for each index along `axis` if given."""
    values = _by_channel(tensor.detach().float().cpu(), axis).numpy()  # (channels, rest)
    low, high = values.min(axis=1), values.max(axis=1)
    # float64: float32 could round a symbol at the extremes the other way when a decoded tensor is encoded again
    span = (high.astype(np.float64) - low)[:, None]
    unit = np.divide(values.astype(np.float64) - low[:, None], span, out=np.zeros(values.shape), where=span > 0)
    return Quantized(np.rint(unit * (levels - 1)).astype(np.int32).ravel(), low, high, levels)


def quantize_by(tensor: Tensor, step: QuantizationStep) -> Quantized:
    """Quantise `tensor` on a learned grid; a step that would need more than 2**12 levels is enlarged."""
    values = tensor.detach().double().cpu().ravel().numpy()
    span = float(values.max() - values.min()) / (2**MOST_BITS - 2)
    size = max(step.size, span, math.ulp(1.0))
    grid = np.rint((values - step.offset) / size)
    first, last = grid.min(), max(grid.max(), grid.min() + 1)
    low, high = (np.array([step.offset + size * end], dtype=np.float32) for end in (first, last))
    return Quantized((grid - first).astype(np.int32), low, high, int(last - first) + 1)


def dequantize(quantized: Quantized, shape: tuple[int, ...], axis: int | None) -> Tensor:
    """The float32 tensor of `shape` that the result of `quantize` or `quantize_by` represents."""
    symbols = quantized.symbols.reshape(len(quantized.low), -1)
    low, high = quantized.low.astype(np.float64)[:, None], quantized.high.astype(np.float64)[:, None]
    exact = np.empty(symbols.shape, np.float32)
    for start in range(0, symbols.shape[1], NUMBERS_AT_ONCE):  # float64 copies of a whole tensor may be large
        part = slice(start, start + NUMBERS_AT_ONCE)
        unit = symbols[:, part] / float(quantized.levels - 1)
        # This form gives both extremes exactly, whatever their values.
        exact[:, part] = low * (1 - unit) + high * unit
    values = torch.from_numpy(exact)
    if axis is None:
        return values.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return values.reshape(moved).movedim(0, axis).contiguous()


def fake_quantize(tensor: Tensor, levels: int, axis: int | None) -> Tensor:
    """The result of `dequantize(quantize(tensor))`, on the tensor's device and in its memory format: for training."""
    others = [dim for dim in range(tensor.ndim) if dim != axis]
    low, high = tensor.amin(others, keepdim=True), tensor.amax(others, keepdim=True)
    step = ((high - low) / (levels - 1)).clamp_min(torch.finfo(tensor.dtype).tiny)
    return tensor.sub(low).div_(step).round_().mul_(step).add_(low)


def _by_channel(tensor: Tensor, axis: int | None) -> Tensor:
    """(channels, rest): one row per quantisation range."""
    return tensor.reshape(1, -1) if axis is None else tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)
