"""A user's own video, whatever its form."""

from typing_extensions import Unpack

from lightning_inr.data.compressed import CompressedVideo
from lightning_inr.data.images import IMAGES, ImageFolder
from lightning_inr.data.raw import RawVideo
from lightning_inr.data.source import Part, VideoSource, adapt
from lightning_inr.errors import UserError
from lightning_inr.paths import existing


def open_source(path: str, matrix: str = "file", fps: float | None = None, option: str = "dataset.path") -> VideoSource:
    """The source for `path`: a folder of images, `.yuv`, `.y4m`, or any video; UserError, naming `option`, if none."""
    if matrix not in ("file", "bt601", "bt709"):
        raise UserError(f"dataset.matrix={matrix}: choose file, bt601 or bt709")
    found = existing(path, option)
    try:
        if found.is_dir():
            return ImageFolder(found, fps or 25.0)
        if found.suffix.lower() in (".yuv", ".y4m"):
            # Untagged raw video is BT.601 to FFmpeg, and so to those who convert with it.
            return RawVideo(found, "bt601" if matrix == "file" else matrix, fps=fps)
        if found.suffix.lower() in IMAGES:
            raise UserError(f"dataset.path={path}: one image; give a video, or the folder of its frames")
        return CompressedVideo(found, matrix)
    except OSError as error:
        raise UserError(f"dataset.path={path}: {error.strerror or error}; name a readable file") from error


def open_video(path: str, matrix: str = "file", fps: float | None = None, **part: Unpack[Part]) -> VideoSource:
    """A user's own video, or a part of it."""
    return adapt(open_source(path, matrix, fps), **part)
