"""A source as batches for a fit."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lightning_inr.data.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.types import FrameBatch, Window


class Frames(Dataset[FrameBatch]):
    """Frames of a source as uint8, held in memory where the video fits `memory_gib`."""

    def __init__(self, source: VideoSource, window: tuple[int, int] | None, memory_gib: float) -> None:
        self.source, self.window = source, window
        size = (source.frames, 3, source.height, source.width)
        fits = math.prod(size) <= memory_gib * 2**30
        # Read in order: a compressed video decodes each frame once, while at random it seeks for every one.
        self.memory = _read_all(source, size) if fits else None

    def __len__(self) -> int:
        return self.source.frames

    def __getitems__(self, indices: list[int]) -> FrameBatch:
        """A whole batch at once: one window for all its frames."""
        frames = torch.stack([self._frame(index) for index in indices])
        index = torch.tensor(indices)
        if self.window is None:
            return FrameBatch(index, frames)
        window = self._random_window(*self.window)
        return FrameBatch(index, crop(frames, window), window)

    def _frame(self, index: int) -> Tensor:
        return self.source.read(index) if self.memory is None else self.memory[index]

    def _random_window(self, height: int, width: int) -> Window:
        top = int(torch.randint(0, self.source.height - height + 1, ()))
        left = int(torch.randint(0, self.source.width - width + 1, ()))
        return Window(top, left, height, width)


class FrameDataModule(L.LightningDataModule):
    """Shuffled batches of `batch_size` frames, or of random windows (height, width) of them."""

    def __init__(
        self,
        source: VideoSource,
        batch_size: int = 1,
        window: tuple[int, int] | None = None,
        memory_gib: float = 4.0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        if not batch_size >= 1:
            raise UserError(f"data.batch_size={batch_size}: choose a whole number from 1")
        if window is not None:
            window = (min(window[0], source.height), min(window[1], source.width))
        self.batch_size, self.workers = min(batch_size, source.frames), workers
        self.frames = Frames(source, window, memory_gib)

    def train_dataloader(self) -> DataLoader[FrameBatch]:
        """Every frame once an epoch, in random order."""
        return DataLoader(
            self.frames, self.batch_size, shuffle=True, num_workers=self.workers, collate_fn=_as_is,
            persistent_workers=self.workers > 0,
        )  # fmt: skip

    def transfer_batch_to_device(self, batch: FrameBatch, device: torch.device, dataloader_idx: int) -> FrameBatch:
        """Bytes cross to the device and become [0, 1] there."""
        frames = batch.frames.to(device, non_blocking=True).float().div_(255)
        return batch._replace(index=batch.index.to(device, non_blocking=True), frames=frames)


def crop(frames: Tensor, window: Window) -> Tensor:
    """The `window` of frames (..., H, W)."""
    return frames[..., window.top : window.top + window.height, window.left : window.left + window.width]


def _read_all(source: VideoSource, size: tuple[int, ...]) -> Tensor:
    memory = torch.empty(size, dtype=torch.uint8)
    for index in tqdm(range(source.frames), desc="read", unit="frame", leave=False):
        memory[index] = source.read(index)
    return memory


def _as_is(batch: Any) -> FrameBatch:
    return batch  # `__getitems__` has put it together already
