"""The vault: a fitted model in, one self-contained bitstream out, and back."""

from lightning_inr.codec.codec import Codec, decode, describe, side_bytes
from lightning_inr.codec.header import Entry
from lightning_inr.codec.quantize import Step, fake_quantize

__all__ = ["Codec", "Entry", "Step", "decode", "describe", "fake_quantize", "side_bytes"]
