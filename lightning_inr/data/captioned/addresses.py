"""Captioned datasets at addresses that fsspec knows: annotations are copied while they are read, videos only named."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Concatenate, NamedTuple, ParamSpec, Protocol

from lightning_inr.data.captioned.split import ROOT, VIDEO_SUFFIXES, CaptionedVideo, DatasetSplit
from lightning_inr.data.sources.remote import remote_folder
from lightning_inr.errors import UserError
from lightning_inr.ranges import is_address

ANNOTATIONS = (".json", ".csv", ".txt")  # ends of the names of published annotations

P = ParamSpec("P")


class AnywhereListing(Protocol[P]):
    """Lists the videos of a dataset at `root`, a folder or an address; None: its default folder."""

    def __call__(self, root: str | None = None, *args: P.args, **kwargs: P.kwargs) -> DatasetSplit:
        """The videos with their annotations."""
        ...


class Copied(NamedTuple):
    """What is here of the files behind an address."""

    folder: Path  # with copies of some files, at their names
    names: list[str]  # of all files, hidden ones left out


@contextmanager
def copied(root: str, is_wanted: Callable[[str], bool]) -> Iterator[Copied]:
    """The files behind the address `root` whose names `is_wanted` accepts; messages name the address, not the copy."""
    source = remote_folder(root, ROOT)
    # As in a folder on disk; names with ".." would lead out of the copy.
    names = [name for name in source.walk() if not any(part.startswith(".") for part in name.split("/"))]
    with TemporaryDirectory() as scratch:
        wanted = {name: Path(scratch) / name for name in names if is_wanted(name)}
        if wanted:
            source.download(wanted)
        try:
            yield Copied(Path(scratch), names)
        except UserError as error:
            raise UserError(str(error).replace(scratch, root)) from error


def also_at_addresses(list_videos: Callable[Concatenate[str | None, P], DatasetSplit]) -> "AnywhereListing[P]":
    """`list_videos` whose argument `root` may be an address, too."""

    @functools.wraps(list_videos)
    def wrapped(root: str | None = None, *args: P.args, **kwargs: P.kwargs) -> DatasetSplit:
        if root is None or not is_address(root):
            return list_videos(root, *args, **kwargs)
        root = root.rstrip("/")
        with copied(root, lambda name: name.lower().endswith(ANNOTATIONS)) as (folder, names):
            for name in names:
                if name.lower().endswith(VIDEO_SUFFIXES):  # an empty file: listing reads names of videos alone
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).touch()
            split = list_videos(str(folder), *args, **kwargs)
            return split._replace(videos=tuple(_at(root, folder, video) for video in split.videos))

    return wrapped


def _at(root: str, folder: Path, video: CaptionedVideo) -> CaptionedVideo:
    """The video behind the address `root` in place of the one in its copy."""
    return video._replace(path=f"{root}/{Path(video.path).relative_to(folder).as_posix()}")
