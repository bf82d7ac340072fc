"""Batches of the same training frames of several videos."""

from collections.abc import Sequence

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_inr.data.module import FrameDataModule, as_is
from lightning_inr.types import FrameBatch


class PackedFrames(Dataset[FrameBatch]):
    """The frames of N videos with the same training frames: a batch has frames (N, B, 3, h, w), teacher (N, B, S)."""

    def __init__(self, parts: Sequence[FrameDataModule]) -> None:
        self.parts = [part.frames for part in parts]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitems__(self, rows: list[int]) -> FrameBatch:
        """A whole batch: the frames `rows` of every video."""
        batches = [part.__getitems__(rows) for part in self.parts]
        teachers = [batch.teacher for batch in batches if batch.teacher is not None]
        teacher = torch.stack(teachers) if teachers else None
        return FrameBatch(batches[0].index, torch.stack([batch.frames for batch in batches]), None, teacher)


class PackedDataModule(L.LightningDataModule):
    """Shuffled batches of all videos of a pack, in the order in which each would be read in a fit of its own."""

    def __init__(self, parts: Sequence[FrameDataModule]) -> None:
        super().__init__()
        self.parts = parts

    def train_dataloader(self) -> DataLoader[FrameBatch]:
        """Every training frame once per epoch, in random order."""
        first = self.parts[0]
        if self.trainer is not None and not first.workers:
            for part in self.parts:
                part.frames.copy_to(self.trainer.strategy.root_device)
        return DataLoader(
            PackedFrames(self.parts), first.batch_size, shuffle=True, num_workers=first.workers, collate_fn=as_is,
            persistent_workers=first.workers > 0,
        )  # fmt: skip

    def transfer_batch_to_device(self, batch: FrameBatch, device: torch.device, dataloader_idx: int) -> FrameBatch:
        """Copy a batch to the device as uint8, and convert its frames to [0, 1] there."""
        return self.parts[0].transfer_batch_to_device(batch, device, dataloader_idx)
