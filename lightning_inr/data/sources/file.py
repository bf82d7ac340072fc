"""A user's own video, in any supported form."""

from pathlib import Path

from typing_extensions import Unpack

from lightning_inr.data.sources.compressed import CompressedVideo
from lightning_inr.data.sources.images import IMAGES, ImageFolder
from lightning_inr.data.sources.raw import RawVideo
from lightning_inr.data.sources.remote import local_copy
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt
from lightning_inr.errors import UserError
from lightning_inr.paths import existing
from lightning_inr.ranges import is_address
from lightning_inr.types import FASTEST, SLOWEST


def open_source(path: str, matrix: str = "file", fps: float | None = None, option: str = "dataset.path") -> VideoSource:
    """The source for `path`: a folder of images, `.yuv`, `.y4m`, or any video; UserError, naming `option`, if none.

    A file at an address, as s3://bucket/clip.mp4, is copied to this machine first.
    """
    if matrix not in ("file", "bt601", "bt709"):
        raise UserError(f"dataset.matrix={matrix}: choose file, bt601 or bt709")
    if fps is not None and not SLOWEST <= fps <= FASTEST:
        raise UserError(f"dataset.fps={fps}: choose a number from {SLOWEST:g} to {FASTEST:g}")
    found = local_copy(path, option) if is_address(path) else existing(path, option)
    try:
        source = _open(found, matrix)
    except UserError as error:
        raise UserError(str(error).replace(str(found), path)) from error
    except OSError as error:
        raise UserError(f"{option}={path}: {error.strerror or error}; name a readable file") from error
    source.fps = fps or source.fps
    if source.shape.fault:
        raise UserError(f"{option}={path}: {source.shape.fault}; give an undamaged file, or state dataset.fps=25")
    return source


def _open(path: Path, matrix: str) -> VideoSource:
    if path.is_dir():
        return ImageFolder(path)
    if not path.is_file():
        raise UserError(f"dataset.path={path}: neither a file nor a folder; give a video")
    if path.suffix.lower() in (".yuv", ".y4m"):
        # FFmpeg, and so most converted video, uses BT.601 for raw video without a tag.
        return RawVideo(path, "bt601" if matrix == "file" else matrix)
    if path.suffix.lower() in IMAGES:
        raise UserError(f"dataset.path={path}: one image; give a video, or the folder of its frames")
    return CompressedVideo(path, matrix)


def open_video(path: str, matrix: str = "file", fps: float | None = None, **part: Unpack[ClipOptions]) -> VideoSource:
    """A user's own video, or a part of it."""
    return adapt(open_source(path, matrix, fps), **part)
