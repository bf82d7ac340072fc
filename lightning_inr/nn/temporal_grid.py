"""Learned grids over time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule


class TemporalGrid(ResettableModule):
    """`slices` learned maps of cells x channels, evenly spaced over the video, linear between their centres."""

    def __init__(self, slices: int, cells: int, channels: int, spread: float = 1e-3) -> None:
        super().__init__()
        self.spread = spread
        # Three axes: channels-last memory, to which models are converted, would scatter the slices of four axes.
        self.table = nn.Parameter(torch.empty(slices, cells, channels))

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.uniform_(self.table, -self.spread, self.spread)

    def forward(self, moment: Tensor) -> Tensor:
        """Relative times (B,), 0 the start of the video and 1 its end -> (B, cells, channels)."""
        last = len(self.table) - 1
        position = (moment * len(self.table) - 0.5).clamp(0, last)
        before = position.floor().long()
        after = (before + 1).clamp_max(last)
        return torch.lerp(self.table[before], self.table[after], (position - before)[:, None, None])


class TemporalGrids(nn.Module):
    """Temporal grids of several resolutions in time, read at one time and concatenated (FFNeRV, T-NeRV)."""

    def __init__(self, slices: Sequence[int], channels: Sequence[int], rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        cells = rows * columns
        # Initial range of Glorot and Bengio 2010 for tables of slices x channels x rows x columns, as in FFNeRV.
        self.levels = nn.ModuleList(
            TemporalGrid(count, cells, width, math.sqrt(6 / ((count + width) * cells)))
            for count, width in zip(slices, channels, strict=True)
        )
        self.channels = sum(channels)

    def forward(self, moment: Tensor) -> Tensor:
        """Relative times (B,), 0 the start of the video and 1 its end -> (B, sum of channels, rows, columns)."""
        read = torch.cat([level(moment) for level in self.levels], dim=2)
        return read.unflatten(1, (self.rows, self.columns)).permute(0, 3, 1, 2)  # channels last
