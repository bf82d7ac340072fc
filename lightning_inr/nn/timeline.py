"""Interpolation between learned slices of time, which never blends across a cut."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.types import GridLayout


class SlicePair(NamedTuple):
    """Two adjacent slices (B,) int64 and the interpolation weight of the second, (B,) in [0, 1].

    `frames` (2 B,): the time from each frame position to the centres of its two slices, in frames, before and after in
    turn.
    """

    before: Tensor
    after: Tensor
    share: Tensor
    frames: Tensor

    @property
    def slices(self) -> Tensor:
        """All slices that are read, before and after in turn, (2 B,)."""
        return torch.stack([self.before, self.after], dim=1).flatten()

    @property
    def weights(self) -> Tensor:
        """The interpolation weights of the two slices, (B, 2)."""
        return torch.stack([1 - self.share, self.share], dim=1)

    def read(self, table: Tensor) -> Tensor:
        """table (slices, ...) -> (B, ...), linearly interpolated between the two slices."""
        return self.blend(self.read_both(table))

    def read_both(self, table: Tensor) -> Tensor:
        """table (slices, ...) -> its `slices`, (2 B, ...)."""
        if table.is_cuda or not torch.is_grad_enabled():  # an exported graph then reads the table in its stored shape
            return table.index_select(0, self.slices)
        # On a CPU: the gradient is added slice by slice; that of `index_select` number by number, if it is strided.
        return F.embedding(self.slices, table.flatten(1)).unflatten(1, table.shape[1:])

    def blend(self, both: Tensor) -> Tensor:
        """What was read at `slices`, (2 B, ...) -> (B, ...), linearly interpolated between the two slices."""
        before, after = both.unflatten(0, (-1, 2)).unbind(1)
        return torch.lerp(before, after, self.share.view(-1, *[1] * (both.ndim - 1)))


class Timeline:
    """Slices spaced evenly over each shot's training frames, one every `frames_per_slice` of them; 0: one per shot.

    A shot has at most one slice per training frame. `training_frames` are every `training_frames.step`-th of the video;
    `shots` are the frame numbers at which shots start, the first 0. A frame position between two shots belongs to the
    shot of the nearer training frame.
    """

    def __init__(self, training_frames: range, shots: Sequence[int], frames_per_slice: float) -> None:
        # Per shot: origin, slices per frame, first and last slice, first and last training frame.
        rows: list[tuple[float, float, float, float, float, float]] = []
        self.borders: list[float] = []
        self.groups: list[int] = []  # slices per shot
        self.slices = 0
        # Indices into `training_frames`.
        starts = sorted({min(-(-shot // training_frames.step), len(training_frames) - 1) for shot in shots})
        for start, end in zip(starts, [*starts[1:], len(training_frames)], strict=True):
            count = round((end - start) / frames_per_slice) if frames_per_slice else 1
            count = min(max(1, count), end - start)
            first = training_frames[start]
            slices_per_frame = count / ((end - start) * training_frames.step)
            # The centre of a slice is the centre of the frames it covers.
            origin = first - training_frames.step / 2 - (self.slices - 0.5) / slices_per_frame
            last = training_frames[end - 1]
            rows.append((origin, slices_per_frame, float(self.slices), float(self.slices + count - 1), first, last))
            if start:
                self.borders.append((training_frames[start - 1] + first) / 2)
            self.groups.append(count)
            self.slices += count
        self._rows = rows
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}  # one copy per device

    def layout(self, rows: int, columns: int, channels: int) -> GridLayout:
        """The layout of a grid with one map of rows x columns x channels per slice."""
        return GridLayout(tuple(self.groups), rows, columns, channels)

    def at(self, index: Tensor) -> SlicePair:
        """Frame positions (B,) -> the slices that they lie between; constant beyond the ends of a shot."""
        rows, borders = self._tensors_on(index.device)
        shot = torch.bucketize(index.float(), borders, right=True) if self.borders else torch.zeros_like(index).long()
        origin, slices_per_frame, first, last, first_frame, last_frame = rows[shot].unbind(1)
        unbounded = (index.clamp(first_frame, last_frame) - origin) * slices_per_frame
        position = unbounded.clamp(first, last)
        before = position.floor()
        after = torch.minimum(before + 1, last)
        frames = (torch.stack([before, after], dim=1) - unbounded[:, None]) / slices_per_frame[:, None]
        return SlicePair(before.long(), after.long(), position - before, frames.flatten())

    def _tensors_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tables:
            self._tables[device] = (
                torch.tensor(self._rows, device=device),
                torch.tensor(self.borders, device=device),
            )
        return self._tables[device]
