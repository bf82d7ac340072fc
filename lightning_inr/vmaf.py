"""VMAF (Netflix, model vmaf_v0.6.1), through the libvmaf of the FFmpeg program."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lightning_inr import ffmpeg
from lightning_inr.data.writer import Encoding, encode_video

PLAIN = Encoding("rawvideo", {})  # uncompressed 8-bit 4:2:0 BT.601; VMAF uses the luma only


class Vmaf(NamedTuple):
    """Mean VMAF over a video's frames, 0 to 100 (identical); None, with the reason, if it cannot be measured."""

    value: float | None
    reason: str | None = None


def vmaf(decoded: Iterable[Tensor], source: Iterable[Tensor], fps: float) -> Vmaf:
    """VMAF of `decoded` against `source`, RGB frames (3, H, W) uint8 of one size; UserError if ffmpeg fails.

    Both are written uncompressed to a temporary folder: 1.5 bytes per pixel and frame each.
    """
    if not ffmpeg.has("filter", "libvmaf"):
        return Vmaf(None, "the ffmpeg of imageio-ffmpeg has no libvmaf; install another version of it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encode_video(decoded, folder / "decoded.y4m", fps, PLAIN)
        encode_video(source, folder / "source.y4m", fps, PLAIN)
        measure = "libvmaf=log_fmt=json:log_path=vmaf.json:n_threads=1:shortest=1"
        inputs = ("-i", "decoded.y4m", "-i", "source.y4m")
        ffmpeg.run_ffmpeg(*inputs, "-lavfi", measure, "-f", "null", "-", folder=folder)
        pooled = json.loads((folder / "vmaf.json").read_text())["pooled_metrics"]
    return Vmaf(float(pooled["vmaf"]["mean"]))


def figures(found: Vmaf) -> dict[str, float | str | None]:
    """The entries of result.json: vmaf, and vmaf_reason if there is one."""
    return {"vmaf": found.value, **({} if found.reason is None else {"vmaf_reason": found.reason})}
