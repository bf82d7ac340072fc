"""Checks of an uploaded video by its header, before any work is done."""

import shutil
from pathlib import Path
from typing import NamedTuple

import av

from lightning_inr.data.sources.compressed import OPTIONS
from lightning_inr.data.sources.images import IMAGES
from lightning_inr.demo.options import UploadLimits
from lightning_inr.errors import UserError

REMEDY = "give a video, such as an mp4, mkv or webm"


class UploadedVideo(NamedTuple):
    """What the header of an uploaded video says; the fit trusts none of it."""

    path: Path
    name: str  # foreign text: escaped where it is shown
    height: int
    width: int


def check_upload(path: Path | None, limits: UploadLimits) -> UploadedVideo:
    """The uploaded video; UserError in one line if there is none, it is no video, or it is beyond the limits."""
    if path is None:
        raise UserError(f"no video yet: {REMEDY}")
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path.name}: 0 bytes; {REMEDY}")
    if size > limits.megabytes * 10**6:
        raise UserError(
            f"{path.name}: {size / 1e6:.0f} MB, at most {limits.megabytes} MB here; cut it or fit it by command"
        )
    if path.suffix.lower() in IMAGES:
        raise UserError(f"{path.name}: one image; {REMEDY}")
    frames, height, width = _read_header(path)
    if not 1 <= height * width <= limits.pixels:
        raise UserError(
            f"{path.name}: frames of {width}x{height}, at most {limits.pixels} pixels here; make them smaller"
        )
    if frames > limits.frames:
        raise UserError(f"{path.name}: {frames} frames, at most {limits.frames} here; cut it or fit it by command")
    return UploadedVideo(path, path.name, height, width)


def _read_header(path: Path) -> tuple[int, int, int]:
    """Frames (0: not stated), height and width."""
    try:
        with av.open(f"file:{path.resolve()}", options=OPTIONS) as container:
            [stream, *_] = container.streams.video
            frames = stream.frames
            if not frames and container.duration and stream.average_rate:
                frames = int(container.duration / av.time_base * stream.average_rate)
            return frames, stream.height, stream.width
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{path.name}: not a video that FFmpeg reads; {REMEDY}") from error


def take_upload(video: UploadedVideo, folder: Path) -> Path:
    """A copy in `folder` under a plain name: the name of an upload never reaches a command line."""
    suffix = video.path.suffix.lower()
    target = folder / f"upload{suffix if suffix[1:].isalnum() and suffix.isascii() else ''}"
    shutil.copyfile(video.path, target)
    return target
