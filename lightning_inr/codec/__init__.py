"""A fitted model in, one self-contained bitstream out, and back."""

from lightning_inr.codec.codec import Codec, decode, describe
from lightning_inr.codec.coefficients import rounding_error
from lightning_inr.codec.header import Entry
from lightning_inr.codec.quantize import Step, fake_quantize

__all__ = ["Codec", "Entry", "Step", "decode", "describe", "fake_quantize", "rounding_error"]
