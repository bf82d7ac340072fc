"""Clips of consecutive frames from several `.linr` files, as a dataset for `torch.utils.data.DataLoader`."""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_inr.codec import StoredVideo, read_segment_table, read_video
from lightning_inr.codec.summary import summarize_file
from lightning_inr.devices import choose_device
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.ranges import FileRanges, is_address
from lightning_inr.types import LONGEST_SIDE, VideoShape

SUFFIX = ".linr"
FileName = str | os.PathLike[str]


class ClipItem(TypedDict):
    """One clip; `default_collate` makes batches of these: (B, T, 3, H, W), a list of B names, (B, T)."""

    frames: Tensor  # (T, 3, H, W) uint8, RGB, on the CPU
    file: str  # the .linr file
    numbers: Tensor  # (T,) int64, number of each frame in its video


class ClipDataset(Dataset[ClipItem]):
    """Clips of `frames` consecutive frames, `step` apart, from `.linr` files; frames are decoded on access.

    `files`: a `.linr` file, a folder (its `.linr` files by name, as in a collection), or several of both; an address
    that fsspec knows is a file. Clips start every `clip_step` frames of a file, by default `frames * step`, so that
    none overlaps the next; a remainder that is shorter than a clip is left out. `size` is (height, width) in pixels, at
    which every model decodes; None for each file's own, so that batches need files of one size.

    Headers are read here, networks when a clip needs them, by each worker process for itself; a process keeps the last
    `open_files` of them. Opening a network takes as long as decoding many frames: with more files than `open_files`,
    shuffled clips are slower than clips in order. With `device="cuda"`, use no workers, or workers started by spawn.

    UserError for a wrong value, for a missing or damaged file, and for a clip that is longer than a video.

    >>> import lightning_inr as li
    >>> clips = li.ClipDataset(["clip.linr"], frames=4, size=(24, 32))
    >>> len(clips), clips[1]["frames"].shape, clips[1]["numbers"].tolist()
    (3, torch.Size([4, 3, 24, 32]), [4, 5, 6, 7])
    """

    def __init__(
        self,
        files: FileName | Sequence[FileName],
        frames: int = 16,
        *,
        step: int = 1,
        clip_step: int | None = None,
        size: tuple[int, int] | None = None,
        open_files: int = 8,
        device: str = "cpu",
    ) -> None:
        self.frames, self.step = _whole(frames, "frames"), _whole(step, "step")
        self.clip_step = frames * step if clip_step is None else _whole(clip_step, "clip_step")
        self.size, self.open_files, self.device = _checked_size(size), _whole(open_files, "open_files"), device
        choose_device(device)
        self.files = _list_files(files)
        span = (frames - 1) * step + 1
        # Number of clips up to and including those of each file.
        self.ends = list(accumulate((_length(file, span) - span) // self.clip_step + 1 for file in self.files))
        self._models: OrderedDict[str, StoredVideo] = OrderedDict()  # the last used one at the end
        self._process = os.getpid()

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> ClipItem:
        """Clip `index`, in the order of the files; negative numbers count from the end. IndexError beyond them."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index}: this dataset has clips 0 to {len(self) - 1}")
        index %= len(self)
        place = bisect_right(self.ends, index)
        first = (index - (self.ends[place - 1] if place else 0)) * self.clip_step
        numbers = range(first, first + self.frames * self.step, self.step)
        with _naming(self.files[place]):
            frames = torch.stack(list(self._model(self.files[place]).render(numbers, self.size)))
        return {"frames": frames, "file": self.files[place], "numbers": torch.tensor(numbers)}

    def __iter__(self) -> Iterator[ClipItem]:
        """All clips, in the order of the files."""
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: everything but the open networks."""
        return self.__dict__ | {"_models": OrderedDict()}

    def __repr__(self) -> str:
        return f"ClipDataset({len(self)} clips of {self.frames} frames, step {self.step}, from {len(self.files)} files)"

    def _model(self, file: str) -> StoredVideo:
        """The network of `file`, opened if this process does not hold it."""
        if self._process != os.getpid():  # a worker that was forked
            self._models, self._process = OrderedDict(), os.getpid()
        if file not in self._models:
            while len(self._models) >= self.open_files:
                self._models.popitem(last=False)
            self._models[file] = read_video(FileRanges(file, "files"), choose_device(self.device))
        self._models.move_to_end(file)
        return self._models[file]


def _list_files(files: FileName | Sequence[FileName]) -> list[str]:
    """The `.linr` files that are named, and those of the folders that are named; UserError if there are none."""
    named = [files] if isinstance(files, str | os.PathLike) else list(files)
    if not named:
        raise UserError("files=[]: name at least one .linr file, or a folder of them")
    return [file for each in named for file in _files_of(each)]


def _files_of(named: FileName) -> Iterator[str]:
    if is_address(named) or not Path(named).expanduser().is_dir():
        yield os.fspath(named)
        return
    folder = Path(named).expanduser()
    found = sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))  # no drafts
    if not found:
        raise UserError(f"files={named}: no {SUFFIX} file in this folder; name one that task=collect has written")
    yield from map(str, found)


def _length(file: str, span: int) -> int:
    """Number of frames that the header of `file` states; UserError if a clip of `span` frames is longer."""
    with _naming(file):
        data = FileRanges(file, "files")
        table = read_segment_table(data)
        video = summarize_file(data).video if table is None else table.video
        if fault := VideoShape(video.frames, video.height, video.width, video.fps).fault:
            raise BitstreamError(f"damaged .linr: its video has {fault}")
    if video.frames < span:
        raise UserError(
            f"files={file}: a clip needs {span} frames and this video has {video.frames}; "
            "choose fewer frames or a smaller step, or leave this file out"
        )
    return video.frames


@contextmanager
def _naming(file: str) -> Iterator[None]:
    """Add the name of `file` to errors about its content."""
    try:
        yield
    except BitstreamError as error:
        raise BitstreamError(f"{file}: {error}") from error


def _whole(value: int, option: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{option}={value}: choose a whole number from 1")
    return value


def _checked_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = list(size) if isinstance(size, Sequence) else []
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= LONGEST_SIDE for side in sides):
        raise UserError(f"size={size}: give (height, width) in pixels, whole numbers from 1 to {LONGEST_SIDE}")
    return sides[0], sides[1]
