"""DAVIS (Perazzi et al. 2016, Pont-Tuset et al. 2017): short sequences of JPEGs, with lists in two formats."""

from pathlib import Path

from typing_extensions import Unpack

from lightning_inr.data.published import PublishedDataset
from lightning_inr.data.sources.images import ImageFolder
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt
from lightning_inr.errors import UserError

DAVIS = PublishedDataset(
    "DAVIS",
    "DAVIS",
    "https://davischallenge.org (2016: 480p and 1080p; 2017: Full-Resolution)",
    "JPEGImages/1080p/blackswan/00000.jpg … and ImageSets/",
)


def open_davis(
    sequence: str,
    root: str | None = None,
    resolution: str = "1080p",
    split: str | None = None,
    fps: float = 24.0,
    **part: Unpack[ClipOptions],
) -> VideoSource:
    """A sequence by its name, from JPEGImages/`resolution`; a `split` (`2017/val`) restricts the choice to its list."""
    folder = DAVIS.root(root)
    images = folder / "JPEGImages" / resolution
    if not images.is_dir():
        there = ", ".join(sorted(path.name for path in images.parent.glob("*"))) or "none"
        raise UserError(f"dataset.resolution={resolution}: no {images}; there: {there}")
    names = [path.name for path in images.iterdir() if path.is_dir()]
    if split is not None:
        listed = read_list(folder / "ImageSets" / f"{split}.txt")
        names = [name for name in names if name in listed]
    DAVIS.check(sequence, names, images)
    return adapt(ImageFolder(images / sequence, fps), **part)


def read_list(path: Path) -> list[str]:
    """Sequence names of a list: one per line (2017), or a pair of image and annotation paths per line (2016)."""
    try:
        lines = path.read_text().split("\n")
    except OSError as error:
        raise UserError(f"dataset.split: {path}: {error.strerror}; name a list as 2017/val or 1080p/val") from error
    first = [line.split()[0] for line in lines if line.split()]
    # /JPEGImages/1080p/kite-surf/00000.jpg: the third part is the sequence
    return list(dict.fromkeys(name.split("/")[3] if name.startswith("/") else name for name in first))
