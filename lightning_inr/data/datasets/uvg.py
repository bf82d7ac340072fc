"""UVG (Mercat et al. 2020): seven sequences of 1920x1080 at 120 fps, 600 frames each, ShakeNDry 300."""

import re
from pathlib import Path

from typing_extensions import Unpack

from lightning_inr.data.published import PublishedDataset
from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.images import IMAGES
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt

SEQUENCES = ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySteadyGo", "ShakeNDry", "YachtRide")
NAME_OF_PREFIX = {name.lower(): name for name in SEQUENCES} | {"readysetgo": "ReadySteadyGo"}  # its name in the archive
UVG = PublishedDataset(
    "UVG",
    "UVG",
    "https://ultravideo.fi/dataset.html (1080p, 8 bit, RAW or Y4M)",
    "Beauty_1920x1080_120fps_420_8bit_YUV.yuv and the like, .y4m, or folders Beauty/ of numbered PNGs",
)
RAW_SUFFIXES = (".yuv", ".y4m")  # preferred to folders of images, which were converted to RGB with an unknown matrix


def open_uvg(
    sequence: str, root: str | None = None, matrix: str = "bt601", fps: float = 120.0, **part: Unpack[ClipOptions]
) -> VideoSource:
    """A sequence by its name in any case, raw or as images; `matrix` is used for raw files, which have no tag."""
    folder = UVG.root(root)
    name = NAME_OF_PREFIX.get(_letter_prefix(sequence), sequence)
    found = _find(folder)
    UVG.check(name, found, folder)
    source = open_source(str(found[name]), matrix, fps, option="dataset.root")
    source.name = name
    return adapt(source, **part)


def _find(folder: Path) -> dict[str, Path]:
    """Sequence -> its preferred form: raw files, in `folder` or one folder deeper, then folders of images."""
    found: dict[str, tuple[int, Path]] = {}
    for path in sorted([*folder.iterdir(), *folder.glob("*/*.yuv"), *folder.glob("*/*.y4m")]):
        name = NAME_OF_PREFIX.get(_letter_prefix(path.name))
        if path.suffix.lower() in RAW_SUFFIXES:
            rank = RAW_SUFFIXES.index(path.suffix.lower())
        elif path.is_dir() and any(file.suffix.lower() in IMAGES for file in path.iterdir()):
            rank = len(RAW_SUFFIXES)
        else:
            continue
        if name and (name not in found or rank < found[name][0]):
            found[name] = (rank, path)
    return {name: path for name, (_, path) in found.items()}


def _letter_prefix(text: str) -> str:
    match = re.match(r"[a-z]*", text.lower())
    return match[0] if match else ""
