"""A learned plane at several resolutions, read at the crossings of rows and columns."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule

LARGEST_SIDE = 2**14  # of a level: a bound for hostile files, ten times the papers'


class PlanePyramid(ResettableModule):
    """`levels` dense square grids of `features`, from side `coarsest` on, each `growth` times finer."""

    def __init__(self, levels: int, coarsest: float, growth: float, features: int) -> None:
        super().__init__()
        # A hair is taken off: float noise in the power must not add a whole row.
        sides = [max(2, math.ceil(coarsest * growth**level - 1e-4)) for level in range(levels)]
        if sides[-1] > LARGEST_SIDE:
            raise ValueError(f"a plane of side {sides[-1]}: at most {LARGEST_SIDE}; lower channels, levels or growth")
        self.width = levels * features
        self.levels = nn.ParameterList(nn.Parameter(torch.empty(features, side, side)) for side in sides)

    def reset_parameters(self) -> None:
        """Set the starting values."""
        for level in self.levels:
            nn.init.uniform_(level, -1e-4, 1e-4)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Positions (R,) and (C,) in [0, 1] -> (R, C, levels * features), bilinear; the outer points lie at 0 and 1."""
        where = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None] * 2 - 1  # (x, y) order
        read = [
            F.grid_sample(level[None], where, padding_mode="border", align_corners=True)[0] for level in self.levels
        ]
        return torch.cat(read).permute(1, 2, 0)
