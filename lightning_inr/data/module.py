"""Batches of the frames of a video source, for a fit."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_inr.data.motion import motion_blend, optical_flows
from lightning_inr.data.shots import find_shots
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.progress import ProgressBar
from lightning_inr.types import FrameBatch, Window, crop

MEAN_COLOUR_FRAMES = 16  # frames read, at most, for the mean colour


class Frames(Dataset[FrameBatch]):
    """The frames `training_frames` of a source as uint8, kept in memory if they fit into `memory_gib`.

    With probability `blend_probability` a batch holds, for each frame, a motion-compensated blend of it and the next
    training frame, at the frame position between the two; across a cut, the nearer of the two frames. `teacher`
    (frames, S) holds the teacher embeddings, which are part of a batch.
    """

    def __init__(
        self,
        source: VideoSource,
        training_frames: range,
        window: tuple[int, int] | None = None,
        memory_gib: float = 4.0,
        blend_probability: float = 0.0,
    ) -> None:
        self.source, self.training_frames, self.window, self.blend_probability = (
            source,
            training_frames,
            window,
            blend_probability,
        )
        self.teacher: Tensor | None = None
        self._copies: list[Tensor] | None = None  # of `memory`, on the device of a fit
        fits = len(training_frames) * 3 * source.height * source.width <= memory_gib * 2**30
        # Read in order: a compressed video decodes each frame once, while random access seeks for every frame.
        # Kept as separate tensors: copying them into one takes as long as decoding them.
        self.memory = (
            [source.read(index) for index in ProgressBar(training_frames, "read", leave=False, unit="frame")]
            if fits
            else None
        )
        count = len(training_frames)
        self._shots = set(find_shots(map(self.frame, range(count)))) if blend_probability else set()
        self._flows: dict[int, Tensor] = {}  # between a training frame and the next, by the number of the first

    def __len__(self) -> int:
        return len(self.training_frames)

    def __getitems__(self, indices: list[int]) -> FrameBatch:
        """A whole batch, with one window for all its frames."""
        if self.blend_probability and len(self.training_frames) > 1 and torch.rand(()) < self.blend_probability:
            index, frames, teacher = self._blend(indices)
        else:
            frames = self._stack(indices)
            index = torch.tensor([self.training_frames[index] for index in indices], dtype=torch.float32)
            teacher = None if self.teacher is None else self.teacher[indices]
        if self.window is None:
            return FrameBatch(index, frames, teacher=teacher)
        window = self._random_window(*self.window)
        return FrameBatch(index, crop(frames, window), window, teacher)

    def frame(self, index: int) -> Tensor:
        """The `index`-th training frame, (3, H, W) uint8."""
        return self.source.read(self.training_frames[index]) if self.memory is None else self.memory[index]

    def copy_to(self, device: torch.device) -> None:
        """Make batches from copies on a GPU, if the frames are in memory and take a quarter of what it has free."""
        if device.type != "cuda" or self.memory is None or self._copies is not None:
            return
        if 4 * sum(frame.numel() for frame in self.memory) < torch.cuda.mem_get_info(device)[0]:
            self._copies = [frame.to(device) for frame in self.memory]

    def _stack(self, indices: list[int]) -> Tensor:
        """Training frames of these numbers, (B, 3, H, W) uint8, on the device where the copies are."""
        return torch.stack([self.frame(index) if self._copies is None else self._copies[index] for index in indices])

    def _blend(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Positions between these training frames and the next, the blends there, and blended teacher embeddings."""
        pairs = [min(index, len(self.training_frames) - 2) for index in indices]
        after = [index + 1 for index in pairs]
        share = torch.rand(len(pairs))
        position = torch.tensor([self.training_frames[index] for index in pairs]) + share * self.training_frames.step
        cut = torch.tensor([index in self._shots for index in after])
        share = torch.where(cut, share.round(), share)
        first, second = self._stack(pairs), self._stack(after)
        flows = torch.stack([self._flows_from(index) for index in pairs]).to(first.device)
        blended = motion_blend(first, second, flows, share.to(first.device))
        teacher = self.teacher
        if teacher is not None:
            teacher = torch.lerp(teacher[pairs], teacher[after], share[:, None])
        return position, blended, teacher

    def _flows_from(self, index: int) -> Tensor:
        if index not in self._flows:
            self._flows[index] = optical_flows(self.frame(index), self.frame(index + 1))
        return self._flows[index]

    def _random_window(self, height: int, width: int) -> Window:
        top = int(torch.randint(0, self.source.height - height + 1, ()))
        left = int(torch.randint(0, self.source.width - width + 1, ()))
        return Window(top, left, height, width)


class FrameDataModule(L.LightningDataModule):
    """Shuffled batches of `batch_size` of every `stride`-th frame, or of random windows (height, width) of them."""

    def __init__(
        self,
        source: VideoSource,
        stride: int = 1,
        batch_size: int = 1,
        window: tuple[int, int] | None = None,
        memory_gib: float = 4.0,
        workers: int = 0,
        blend_probability: float = 0.0,
    ) -> None:
        super().__init__()
        if not batch_size >= 1:
            raise UserError(f"data.batch_size={batch_size}: choose a whole number from 1")
        if not 0 <= blend_probability < 1:
            raise UserError(
                f"data.blend_probability={blend_probability}: choose a share of the steps, from 0 to below 1"
            )
        if window is not None:
            window = (min(window[0], source.height), min(window[1], source.width))
        training_frames = source.shape._replace(stride=stride).training_frames
        self.batch_size, self.workers = min(batch_size, len(training_frames)), workers
        self.frames = Frames(source, training_frames, window, memory_gib, blend_probability)

    @property
    def step_frames(self) -> float:
        """Frames per step, where the pixels of windows are counted as shares of whole frames."""
        height, width = self.frames.window or (1, 1)
        whole = self.frames.source.height * self.frames.source.width if self.frames.window else 1
        return self.batch_size * height * width / whole

    def train_dataloader(self) -> DataLoader[FrameBatch]:
        """Every training frame once per epoch, in random order; on several devices Lightning divides them."""
        if self.trainer is not None and self.trainer.global_rank:
            # The model has its initial values by now, the same on all ranks: windows and blends are to differ.
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)
        if self.trainer is not None and not self.workers:
            self.frames.copy_to(self.trainer.strategy.root_device)
        return DataLoader(
            self.frames, self.batch_size, shuffle=True, num_workers=self.workers, collate_fn=as_is,
            persistent_workers=self.workers > 0,
        )  # fmt: skip

    def mean_colour(self) -> Tensor:
        """Mean RGB (3,) in [0, 1] of at most 16 training frames, evenly spaced."""
        rows = range(0, len(self.frames), -(-len(self.frames) // MEAN_COLOUR_FRAMES))
        return torch.stack([self.frames.frame(row).float().mean(dim=(1, 2)) for row in rows]).mean(dim=0) / 255

    def in_order(self) -> Iterator[FrameBatch]:
        """Every training frame once, whole and not blended, uint8 on the host."""
        for start in range(0, len(self.frames), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(self.frames)))
            index = torch.tensor([self.frames.training_frames[row] for row in rows], dtype=torch.float32)
            yield FrameBatch(index, torch.stack([self.frames.frame(row) for row in rows]))

    def transfer_batch_to_device(self, batch: FrameBatch, device: torch.device, dataloader_idx: int) -> FrameBatch:
        """Copy a batch to the device as uint8, and convert its frames to [0, 1] there."""
        frames = batch.frames.to(device, non_blocking=True).float().div_(255)
        teacher = None if batch.teacher is None else batch.teacher.to(device, non_blocking=True)
        return batch._replace(index=batch.index.to(device, non_blocking=True), frames=frames, teacher=teacher)


def as_is(batch: Any) -> FrameBatch:
    """For a `DataLoader` over a dataset whose `__getitems__` returns a whole batch."""
    return batch
