"""Conventional codecs on the frames of a source, measured like a `.linr` file: file size and decoded RGB frames."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from lightning_inr import ffmpeg
from lightning_inr.data.module import Frames
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.errors import UserError
from lightning_inr.metrics import compare, summarize_quality
from lightning_inr.paths import writing
from lightning_inr.pipelines.evaluation import frames_per_second
from lightning_inr.vmaf import PLAIN, figures, vmaf


def measure_codec(frames: Frames, target: Path, encoding: Encoding) -> dict[str, Any]:
    """Encode `frames` into `target`, a raw stream without a container, and measure the decoded frames."""
    source = frames.source
    start = time.perf_counter()
    with writing(target) as draft:
        encode(frames, draft, encoding)
    encode_seconds = time.perf_counter() - start
    quality = [
        compare(frame[:, : source.height, : source.width], frames.frame(number))
        for number, frame in enumerate(decode_stream(target))
    ]
    if len(quality) != source.frames:
        raise UserError(f"{target}: {len(quality)} of {source.frames} frames were decoded; leave this codec out")
    decoded = (frame[:, : source.height, : source.width] for frame in decode_stream(target))
    size = target.stat().st_size
    return {
        "video": source.name,
        "frames": source.frames,
        "height": source.height,
        "width": source.width,
        "fps": source.fps,
        "bytes": size,
        "bpp": 8 * size / (source.frames * source.height * source.width),
        **summarize_quality(quality),
        **figures(vmaf(decoded, frames_in_order(frames), source.fps)),
        "encode_seconds": encode_seconds,
        "decode_fps": frames_per_second(lambda: decode_stream(target), source.frames),
        "device": f"cpu, {torch.get_num_threads()} threads",
    }


def check_encoder(name: str) -> None:
    """UserError if neither PyAV nor the FFmpeg program has this encoder."""
    if name not in av.codecs_available and not ffmpeg.has("encoder", name):
        raise UserError(f"no FFmpeg here has {name}; leave it out, or set IMAGEIO_FFMPEG_EXE to a program that has it")


def frames_in_order(frames: Frames) -> Iterator[Tensor]:
    """Each frame (3, H, W) uint8 of the source, in order."""
    return (frames.frame(number) for number in range(frames.source.frames))


def encode(frames: Frames, target: Path, encoding: Encoding) -> None:
    """Encode with PyAV, or with the FFmpeg program where PyAV has no such encoder and the program has.

    UserError if neither has it, or if it refuses these frames or these options.
    """
    try:
        if encoding.codec in av.codecs_available or not ffmpeg.has("encoder", encoding.codec):
            encode_video(frames_in_order(frames), target, frames.source.fps, encoding)
        else:
            _encode_by_program(frames, target, encoding)
    except (av.FFmpegError, av.codec.codec.UnknownCodecError, ValueError) as error:
        raise UserError(f"{encoding.codec} cannot encode this: {error}; leave this codec out") from error


def _encode_by_program(frames: Frames, target: Path, encoding: Encoding) -> None:
    with tempfile.TemporaryDirectory() as name:
        uncompressed = Path(name) / "source.y4m"  # the same 4:2:0 input as for the other encoders
        encode_video(frames_in_order(frames), uncompressed, frames.source.fps, PLAIN)
        options = [part for key, value in encoding.options.items() for part in (f"-{key}", value)]
        ffmpeg.run_ffmpeg("-i", str(uncompressed), "-c:v", encoding.codec, *options, str(target))


def decode_stream(path: Path) -> Iterator[Tensor]:
    """RGB frames (3, H, W) uint8 of a raw stream, in the order of display."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
