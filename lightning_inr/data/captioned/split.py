"""Videos with captions and segments: the common form of COIN, HowTo100M, MSR-VTT, ActivityNet and shapes."""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from typing_extensions import Unpack

from lightning_inr.data.sources.file import open_source
from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt
from lightning_inr.errors import UserError
from lightning_inr.ranges import is_address

ROOT = "dataset.listing.root"  # the option that names the folder of a captioned dataset
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov")  # of several files with one name, the first suffix is used


class Segment(NamedTuple):
    """A part of a video, including both ends, and the text that describes it."""

    start: float  # seconds
    end: float  # seconds
    label: str


class CaptionedVideo(NamedTuple):
    """A video and its annotations; those that its dataset does not have are None or empty."""

    id: str
    path: Path | str  # on disk, or an address that fsspec knows
    label: str | None = None  # its class, in words
    captions: tuple[str, ...] = ()  # of the whole video
    segments: tuple[Segment, ...] = ()

    @property
    def location(self) -> str:
        """Its absolute path, or its address."""
        return str(self.path) if is_address(self.path) else str(Path(self.path).resolve())


class DatasetSplit(NamedTuple):
    """One split of a captioned dataset."""

    name: str  # of the dataset and the split
    videos: tuple[CaptionedVideo, ...]
    missing: tuple[str, ...] = ()  # ids that are annotated but not on disk


def find_videos(folder: Path) -> dict[str, Path]:
    """File name without suffix -> path, for every video at any depth below `folder`; links are followed."""
    files = sorted(path for path in files_below(folder) if path.suffix.lower() in VIDEO_SUFFIXES)
    best = sorted(files, key=lambda path: VIDEO_SUFFIXES.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in best}


def files_below(folder: Path) -> Iterator[Path]:
    """All files at any depth below `folder`, without hidden files and folders, in order of their paths.

    Links are followed, and each folder is entered once, even if links lead to it again. Folders without permission are
    left out.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if not os.path.isdir(path):  # unlike Path.is_dir, no error for a path that is too long
            yield path
        elif os.access(path, os.R_OK | os.X_OK):
            state = path.stat()
            if (state.st_dev, state.st_ino) not in entered:
                entered.add((state.st_dev, state.st_ino))
                waiting += sorted((each for each in path.iterdir() if each.name[0] != "."), reverse=True)


def check_split(split: str, splits: Collection[str]) -> None:
    """UserError that lists the `splits` if `split` is not one of them."""
    if split not in splits:
        raise UserError(f"dataset.listing.split={split}: choose one of {', '.join(splits)}")


def list_found(name: str, annotated: Iterable[CaptionedVideo], videos: dict[str, Path]) -> DatasetSplit:
    """The `annotated` videos with their paths, taken by id from `videos`; UserError if none has a path."""
    found, missing = [], []
    for each in annotated:
        path = videos.get(each.id)
        if path is None:
            missing.append(each.id)
        else:
            found.append(each._replace(path=path))
    if not found:
        reason = f"none of its {len(missing)} videos is on disk" if missing else "no video is listed"
        raise UserError(f"{name}: {reason}; check {ROOT} and the other options of dataset.listing")
    return DatasetSplit(name, tuple(found), tuple(missing))


def open_captioned(sequence: str, listing: DatasetSplit, **part: Unpack[ClipOptions]) -> VideoSource:
    """The video with id `sequence`, or a part of it; UserError if the listing does not have it."""
    paths = {video.id: video.path for video in listing.videos}
    if sequence not in paths:
        absent = "its video is missing on disk" if sequence in listing.missing else f"{listing.name} has no such id"
        raise UserError(f"dataset.sequence={sequence}: {absent}; choose one of {', '.join(list(paths)[:20])} …")
    source = open_source(str(paths[sequence]), option="dataset.sequence")
    source.name = sequence
    return adapt(source, **part)
