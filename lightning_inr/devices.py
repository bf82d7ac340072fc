"""Choice of the device and of its arithmetic precision."""

from contextlib import AbstractContextManager, nullcontext

import torch

from lightning_inr.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device for `cpu`, `cuda` or `auto` (the GPU if usable); UserError if it is unknown or not usable."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: no usable GPU here; choose device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fast_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware; without that bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast; an empty one for the device "meta", which has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
