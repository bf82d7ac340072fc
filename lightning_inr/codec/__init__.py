"""The codec: a fitted model to one self-contained bitstream, and back.

Importing the package imports no torch, so that a header can be read without it (`codec.summary`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_inr.codec.codec import Codec, decode, describe, read_coded
    from lightning_inr.codec.coefficients import rounding_error
    from lightning_inr.codec.cost import check_cost, frame_cost
    from lightning_inr.codec.limits import Limits, current_limits, use_limits
    from lightning_inr.codec.quantize import QuantizationStep, fake_quantize
    from lightning_inr.codec.schema import Entry
    from lightning_inr.codec.segment_table import join_files, read_segment_table
    from lightning_inr.codec.segments import SegmentedVideo, StoredVideo, describe_file, read_video

__all__ = [
    "Codec", "Entry", "Limits", "QuantizationStep", "SegmentedVideo", "StoredVideo", "check_cost", "current_limits",
    "decode", "describe", "describe_file", "fake_quantize", "frame_cost", "join_files", "read_coded",
    "read_segment_table", "read_video", "rounding_error", "use_limits",
]  # fmt: skip
MODULES = {
    "codec": ("Codec", "decode", "describe", "read_coded"), "coefficients": ("rounding_error",),
    "cost": ("check_cost", "frame_cost"),
    "limits": ("Limits", "current_limits", "use_limits"), "quantize": ("QuantizationStep", "fake_quantize"),
    "schema": ("Entry",), "segment_table": ("join_files", "read_segment_table"),
    "segments": ("SegmentedVideo", "StoredVideo", "describe_file", "read_video"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in MODULES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"lightning_inr.codec.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
