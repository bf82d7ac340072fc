"""A video as one NumPy array: (frames, height, width, 3) uint8, in a `.npy` file."""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_inr.data.sources.source import ClipOptions, VideoSource, adapt
from lightning_inr.errors import UserError
from lightning_inr.paths import existing


class ArrayVideo(VideoSource):
    """Frames of a `.npy` file, read one by one."""

    def __init__(self, path: str, fps: float) -> None:
        found = existing(path, "dataset.path")
        try:
            self.array = np.load(found, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise UserError(f"dataset.path={path}: no array; write it with numpy.save") from error
        if self.array.ndim != 4 or self.array.shape[3] != 3 or self.array.dtype != np.uint8:
            raise UserError(f"dataset.path={path}: {self.array.dtype} {self.array.shape}; give uint8 (N, H, W, 3)")
        self.name, self.fps = found.stem, fps
        self.frames, self.height, self.width = self.array.shape[:3]

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        return torch.from_numpy(self.array[index].copy()).permute(2, 0, 1)


def open_npy(path: str, fps: float = 25.0, **part: Unpack[ClipOptions]) -> VideoSource:
    """The video of a `.npy` file, or a part of it."""
    return adapt(ArrayVideo(path, fps), **part)
