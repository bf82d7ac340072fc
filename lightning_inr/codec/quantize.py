"""Min–max quantisation of tensors (Latent-INR, Eq. 3 as corrected): q = round((w − min) / step).

step = (max − min) / (2^bits − 1). Stored are min and max, not the step: a decoded tensor then has the
same extremes as its source, and encoding it once more gives the same symbols.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_BITS = 12  # of a symbol; 16 and 32 mean plain floats of that size


class Quantized(NamedTuple):
    """Symbols (numel,) int32 in [0, 2^bits) and the extremes of each channel, float32 (channels,)."""

    symbols: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def quantize(tensor: Tensor, bits: int, axis: int | None) -> Quantized:
    """Quantise `tensor` with one range for all, or one for each index along `axis`."""
    values = _by_channel(tensor.detach().float().cpu(), axis).numpy()  # (channels, rest)
    low, high = values.min(axis=1), values.max(axis=1)
    # float64: float32 could round a symbol at the extremes the other way when a decoded tensor is encoded again
    span = (high.astype(np.float64) - low)[:, None]
    unit = np.divide(values.astype(np.float64) - low[:, None], span, out=np.zeros(values.shape), where=span > 0)
    return Quantized(np.rint(unit * (2**bits - 1)).astype(np.int32).ravel(), low, high)


def dequantize(quantized: Quantized, shape: tuple[int, ...], bits: int, axis: int | None) -> Tensor:
    """The tensor of `shape` that `quantize` stands for, float32."""
    unit = quantized.symbols.reshape(len(quantized.low), -1) / float(2**bits - 1)
    low, high = quantized.low.astype(np.float64)[:, None], quantized.high.astype(np.float64)[:, None]
    # In this form both extremes come out exactly, whatever their sizes.
    values = torch.from_numpy((low * (1 - unit) + high * unit).astype(np.float32))
    if axis is None:
        return values.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return values.reshape(moved).movedim(0, axis).contiguous()


def fake_quantize(tensor: Tensor, bits: int, axis: int | None) -> Tensor:
    """What `dequantize(quantize(tensor))` gives, on the tensor's device and in its layout: for training."""
    others = [dim for dim in range(tensor.ndim) if dim != axis]
    low, high = tensor.amin(others, keepdim=True), tensor.amax(others, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(tensor.dtype).tiny)
    return tensor.sub(low).div_(step).round_().mul_(step).add_(low)


def _by_channel(tensor: Tensor, axis: int | None) -> Tensor:
    """(channels, rest): one row a range."""
    return tensor.reshape(1, -1) if axis is None else tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)
