"""Multiply-adds per pixel of the model of a .linr file."""

import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_inr.codec import decode
from lightning_inr.paths import write_text


def macs_per_pixel(folder: Path) -> float:
    """Multiply-adds per pixel to render the middle frame of `folder`/video.linr alone, cached in macs.json there.

    Convolutions, matrix products and attention count; look-ups, interpolation and activations do not.
    """
    bitstream, kept = folder / "video.linr", folder / "macs.json"
    if not kept.exists() or kept.stat().st_mtime < bitstream.stat().st_mtime:
        write_text(kept, json.dumps(_count(bitstream)) + "\n")
    return float(json.loads(kept.read_text()))


def _count(bitstream: Path) -> float:
    model = decode(bitstream.read_bytes(), torch.device("cpu")).requires_grad_(False)  # the counter hooks gradients
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.tensor([float(model.video.frames // 2)]))
    return counter.get_total_flops() / 2 / (model.video.height * model.video.width)
