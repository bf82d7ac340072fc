"""The vault: a fitted model in, one self-contained bitstream out, and back."""

from lightning_inr.codec.codec import Codec, Entry, decode, describe
from lightning_inr.codec.quantize import fake_quantize

__all__ = ["Codec", "Entry", "decode", "describe", "fake_quantize"]
