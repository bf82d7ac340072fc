"""The codec: a fitted model to one self-contained bitstream, and back."""

from lightning_inr.codec.codec import Codec, decode, describe
from lightning_inr.codec.coefficients import rounding_error
from lightning_inr.codec.cost import check_cost, frame_cost
from lightning_inr.codec.header import Entry
from lightning_inr.codec.limits import Limits, current_limits, use_limits
from lightning_inr.codec.quantize import QuantizationStep, fake_quantize

__all__ = [
    "Codec", "Entry", "Limits", "QuantizationStep", "check_cost", "current_limits", "decode", "describe",
    "fake_quantize", "frame_cost", "rounding_error", "use_limits",
]  # fmt: skip
