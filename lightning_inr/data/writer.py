"""Writing of frames to disk: an H.264 video for viewing, or exact PNGs."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import torch.nn.functional as F
from av.video.stream import VideoStream
from PIL import Image
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.paths import writing

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".avi"}


class Encoding(NamedTuple):
    """An encoder of FFmpeg, and its options."""

    codec: str
    options: Mapping[str, str]


# A quality at which the visible errors are those of the model, not of this encoding.
PREVIEW_ENCODING = Encoding("libx264", {"crf": "12", "preset": "veryfast"})


def check_target(out: str | Path | None) -> Path:
    """`out` as a Path if frames can be written there; otherwise UserError, before anything is rendered."""
    if not out:
        raise UserError(f"out={out}: name a video ({', '.join(sorted(VIDEO_SUFFIXES))}) or a folder for PNGs")
    target = Path(out).expanduser()
    try:
        return _checked(target, out)
    except OSError as error:
        raise UserError(f"out={out}: {error.strerror}; choose another name") from error


def _checked(target: Path, out: str | Path) -> Path:
    if target.suffix.lower() in VIDEO_SUFFIXES:
        if target.is_dir():
            raise UserError(f"out={out}: a folder with the name of a video is there; choose another name")
    elif target.suffix and not target.is_dir():
        raise UserError(f"out={out}: name a video ({', '.join(sorted(VIDEO_SUFFIXES))}) or a folder for PNGs")
    elif target.exists() and not target.is_dir():
        raise UserError(f"out={out}: a file is there; name a folder for PNGs")
    return target


def write_frames(frames: Iterable[Tensor], out: str | Path, fps: float, first: int = 1) -> Path:
    """Write frames (3, H, W) uint8 atomically to a video, or to `00001.png` … in a folder, numbered from `first`."""
    target = check_target(out)
    with writing(target) as draft:
        if target.suffix.lower() in VIDEO_SUFFIXES:
            encode_video(frames, draft, fps, PREVIEW_ENCODING)
        else:
            draft.mkdir()
            for number, frame in enumerate(frames, start=first):
                # Compression level 1: on one core, the default takes longer than rendering.
                Image.fromarray(frame.permute(1, 2, 0).numpy()).save(draft / f"{number:05d}.png", compress_level=1)
    return target


def encode_video(frames: Iterable[Tensor], path: Path, fps: float, encoding: Encoding) -> None:
    """Encode frames (3, H, W) uint8 with `encoding` as 8-bit 4:2:0 BT.601; odd sides are padded by an edge pixel."""
    with ordinary_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(encoding.codec, rate=Fraction(fps).limit_denominator(1001))
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.options = dict(encoding.options)
        for frame in frames:
            height, width = frame.shape[1:]
            if height % 2 or width % 2:  # 4:2:0 needs even sides
                padded = F.pad(frame[None].float(), (0, width % 2, 0, height % 2), mode="replicate")
                frame = padded[0].to(frame.dtype)
            if not stream.codec_context.is_open:
                stream.height, stream.width = frame.shape[1:]
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_y4m(frames: Iterable[Tensor], stream: BinaryIO, fps: float) -> None:
    """Write frames (3, H, W) uint8 as YUV4MPEG2, 8-bit 4:4:4 BT.601; a reader that closes the pipe ends the writing."""
    rate = Fraction(fps).limit_denominator(1001)
    started = False
    with suppress(BrokenPipeError):
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            if not started:
                size = f"W{picture.width} H{picture.height} F{rate.numerator}:{rate.denominator}"
                stream.write(f"YUV4MPEG2 {size} Ip A1:1 C444\n".encode())
                started = True
            stream.write(b"FRAME\n" + picture.to_ndarray(format="yuv444p").tobytes())
        stream.flush()


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Restore the thread's scheduling policy: SVT-AV1, run as root, leaves the thread with real-time priority."""
    before = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    try:
        yield
    finally:
        if before is not None and os.sched_getscheduler(0) != before:
            os.sched_setscheduler(0, before, os.sched_param(0))
