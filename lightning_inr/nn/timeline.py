"""Interpolation between learned slices of time, which never blends across a cut."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.types import GridLayout


class Between(NamedTuple):
    """Two adjacent slices (B,) int64 and the interpolation weight of the second, (B,) in [0, 1]."""

    before: Tensor
    after: Tensor
    share: Tensor

    def read(self, table: Tensor) -> Tensor:
        """table (slices, ...) -> (B, ...), linearly interpolated between the two slices."""
        share = self.share.view(-1, *[1] * (table.ndim - 1))
        return torch.lerp(table[self.before], table[self.after], share)


class Timeline:
    """Slices spaced evenly over each shot's training frames, one every `frames_per_slice` of them; 0: one per shot.

    A shot has at most one slice per training frame. `seen` are the training frames, every `seen.step`-th of the video;
    `shots` are the frame numbers at which shots start, the first 0. A frame position between two shots belongs to the
    shot of the nearer training frame.
    """

    def __init__(self, seen: range, shots: Sequence[int], frames_per_slice: float) -> None:
        rows: list[tuple[float, float, float, float]] = []  # per shot: origin, slices per frame, first and last slice
        self.borders: list[float] = []
        self.groups: list[int] = []  # slices per shot
        self.slices = 0
        starts = sorted({min(-(-shot // seen.step), len(seen) - 1) for shot in shots})  # indices into `seen`
        for start, end in zip(starts, [*starts[1:], len(seen)], strict=True):
            count = round((end - start) / frames_per_slice) if frames_per_slice else 1
            count = min(max(1, count), end - start)
            first = seen[start]
            pace = count / ((end - start) * seen.step)
            # The centre of a slice is the centre of the frames it covers.
            origin = first - seen.step / 2 - (self.slices - 0.5) / pace
            rows.append((origin, pace, float(self.slices), float(self.slices + count - 1)))
            if start:
                self.borders.append((seen[start - 1] + first) / 2)
            self.groups.append(count)
            self.slices += count
        self._rows = rows
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}  # one copy per device

    def layout(self, rows: int, columns: int, channels: int) -> GridLayout:
        """The layout of a grid with one map of rows x columns x channels per slice."""
        return GridLayout(tuple(self.groups), rows, columns, channels)

    def at(self, index: Tensor) -> Between:
        """Frame positions (B,) -> the slices that they lie between; constant beyond the ends of a shot."""
        rows, borders = self._on(index.device)
        origin, pace, first, last = rows[torch.bucketize(index.float(), borders, right=True)].unbind(1)
        position = ((index - origin) * pace).clamp(first, last)
        before = position.floor()
        after = torch.minimum(before + 1, last)
        return Between(before.long(), after.long(), position - before)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tables:
            self._tables[device] = (
                torch.tensor(self._rows, device=device),
                torch.tensor(self.borders, device=device),
            )
        return self._tables[device]
