"""Encodes one video to one file."""

from pathlib import Path
from typing import Any

import lightning_inr as li
from lightning_inr.command.pipes import named_video
from lightning_inr.errors import Terminated


def encode_video_file(video: str, out: Path, **options: Any) -> None:
    """Fit `video`, write `out`, and print its figures; `options` are those of `lightning_inr.fit`."""
    try:
        with named_video(video, out) as source:
            fitted = li.fit(source, out, **options)
    except (KeyboardInterrupt, Terminated) as stop:
        raise type(stop)("the same command goes on from there") from stop
    figures = fitted.figures
    if not figures.get("converged", True):
        print(f"not converged: {figures['unconverged']}")
    print(
        f"{out}: PSNR {figures['psnr']:.2f} dB, {figures['bpp']:.4f} bits per pixel, {figures['bytes']:,} bytes, "
        f"fitted in {figures['fit_seconds']:.0f} s"
    )
