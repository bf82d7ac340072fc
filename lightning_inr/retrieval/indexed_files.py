"""The files that an index was made of, and the frame that each of its rows stands for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_inr.ranges import is_address
from lightning_inr.retrieval.collection import Record
from lightning_inr.storage import open_folder

Stamp = tuple[int, int | str]  # bytes; time of the last change in nanoseconds, or the stamp of a bucket
MISSING: Stamp = (0, 0)


class IndexedFile(NamedTuple):
    """A file whose frames are rows of an index."""

    path: str
    size: int  # bytes, when it was indexed
    time: int | str  # of its last change, nanoseconds; in a bucket its stamp
    frames: int  # rows; 0 if it is not aligned to a teacher

    @property
    def stamp(self) -> Stamp:
        """Size and time, as `file_stamps` gives them."""
        return self.size, self.time


class Rows:
    """The frame of each row: the frames of one file after those of another; memory grows with files, not frames."""

    def __init__(self, videos: Sequence[int], frames: Sequence[int]) -> None:
        self.videos = np.array(videos, np.int64)  # (F,), index of each file's video in the records
        self.first = np.concatenate([np.zeros(1, np.int64), np.cumsum(frames, dtype=np.int64)])  # (F + 1,)
        self._place = {int(video): place for place, video in enumerate(self.videos)}

    def __len__(self) -> int:
        return int(self.first[-1])

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The video and the number of the frame of each row, (N,) both."""
        files = np.searchsorted(self.first, rows, side="right") - 1
        return self.videos[files], rows - self.first[files]

    def of_video(self, video: int) -> range:
        """The rows of one video; none if it is not in the index."""
        place = self._place.get(video)
        return range(0) if place is None else range(int(self.first[place]), int(self.first[place + 1]))


def file_stamps(folder: str | Path, records: Sequence[Record]) -> Mapping[str, Stamp]:
    """Path -> stamp of each record's file, MISSING for one that is missing; a bucket is listed once."""
    if not is_address(folder):
        return {record.path: _local_stamp(Path(folder) / record.path) for record in records}
    found = {entry.name: (entry.size, entry.stamp) for entry in open_folder(folder, "collection").names()}
    return {record.path: found.get(record.path, MISSING) for record in records}


def _local_stamp(path: Path) -> Stamp:
    try:
        state = path.stat()
    except OSError:  # reading the file raises an error with the reason
        return MISSING
    return state.st_size, state.st_mtime_ns
