"""A learned plane at several resolutions, sampled at the intersections of rows and columns."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule

LARGEST_SIDE = 2**14  # of a level, at most: a limit for hostile files, ten times the papers'


class PlanePyramid(ResettableModule):
    """`levels` dense square grids of `features`; the first has side `coarsest`, then each is `growth` times finer."""

    def __init__(self, levels: int, coarsest: float, growth: float, features: int) -> None:
        super().__init__()
        # 1e-4 is subtracted so that rounding errors of the power cannot add a row.
        sides = [max(2, math.ceil(coarsest * growth**level - 1e-4)) for level in range(levels)]
        if sides[-1] > LARGEST_SIDE:
            raise ValueError(f"a plane of side {sides[-1]}: at most {LARGEST_SIDE}; lower channels, levels or growth")
        self.width = levels * features
        self.levels = nn.ParameterList(nn.Parameter(torch.empty(features, side, side)) for side in sides)

    def reset_parameters(self) -> None:
        """Set the initial values."""
        for level in self.levels:
            nn.init.uniform_(level, -1e-4, 1e-4)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Positions (R,) and (C,) in [0, 1] -> (R, C, levels * features), bilinear; the outer points lie at 0 and 1."""
        where = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None] * 2 - 1  # (x, y) order
        read = [
            F.grid_sample(level[None], where, padding_mode="border", align_corners=True)[0] for level in self.levels
        ]
        return torch.cat(read).permute(1, 2, 0)
