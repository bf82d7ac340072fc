"""MCL-JCV (Wang et al. 2016): thirty sequences of 1920x1080, five seconds each, raw 4:2:0."""

import re

from typing_extensions import Unpack

from lightning_inr.data.published import PublishedDataset
from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt

MCL_JCV = PublishedDataset(
    "MCL-JCV",
    "MCL-JCV",
    "https://mcl.usc.edu/mcl-jcv-dataset/ (the 8-bit sources)",
    "videoSRC01_1920x1080_30.yuv … videoSRC30_1920x1080_30.yuv",
)


def open_mcl_jcv(
    sequence: str | int, root: str | None = None, matrix: str = "bt601", **part: Unpack[ClipOptions]
) -> VideoSource:
    """A sequence by its number (1 to 30) or name (videoSRC01); the frame rate is in the file's name."""
    folder = MCL_JCV.root(root)
    files = {match[0]: path for path in folder.glob("*.yuv") if (match := re.match(r"videoSRC\d+", path.name))}
    name = f"videoSRC{int(sequence):02d}" if str(sequence).isdigit() else str(sequence)
    MCL_JCV.check(name, files, folder)
    source = open_source(str(files[name]), matrix, option="dataset.root")
    source.name = name
    return adapt(source, **part)
