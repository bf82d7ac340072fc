"""Tables over time and place as coefficients of an orthonormal cosine transform, in which most are near zero.

Over time the transform spans the slices of a shot; in space blocks of about 8x8, and the blocks' means once more.
Orthonormal: an error in coefficients is as large as the error in the table, and gradients carry over.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lightning_inr.types import GridLayout

BLOCK = 8  # rows and columns of a block, about


def block_sizes(length: int) -> list[int]:
    """`length` cut into blocks as even as can be, of about 8."""
    count = max(1, round(length / BLOCK))
    return [length * (number + 1) // count - length * number // count for number in range(count)]


def to_coefficients(table: Tensor, layout: GridLayout) -> Tensor:
    """(slices, rows * columns, channels) or any shape of as many -> float32 (slices, channels, rows, columns)."""
    planes = table.detach().float().reshape(layout.slices, layout.rows, layout.columns, layout.channels)
    planes = planes.permute(0, 3, 1, 2).contiguous()
    matrices = _matrices(layout, planes.device)
    over_time = torch.tensordot(matrices[0], planes, 1)
    blocks = matrices[1] @ over_time @ matrices[2].T
    return _mix_means(blocks, layout, inverse=False)


def from_coefficients(coefficients: Tensor, layout: GridLayout) -> Tensor:
    """The inverse: (slices, channels, rows, columns) -> (slices, rows * columns, channels)."""
    matrices = _matrices(layout, coefficients.device)
    blocks = _mix_means(coefficients, layout, inverse=True)
    over_time = matrices[1].T @ blocks @ matrices[2]
    planes = torch.tensordot(matrices[0].T, over_time, 1)
    return planes.permute(0, 2, 3, 1).reshape(layout.slices, layout.rows * layout.columns, layout.channels)


def _mix_means(blocks: Tensor, layout: GridLayout, inverse: bool) -> Tensor:
    rows, columns = (starts(block_sizes(length)) for length in (layout.rows, layout.columns))
    down, along = (_cosines(len(each)).to(blocks.device) for each in (rows, columns))
    if inverse:
        down, along = down.T, along.T
    row, column = (torch.tensor(each, device=blocks.device) for each in (rows, columns))
    mixed = blocks.clone()
    mixed[:, :, row[:, None], column] = down @ blocks[:, :, row[:, None], column] @ along.T
    return mixed


def starts(sizes: Sequence[int]) -> list[int]:
    """Where each of these consecutive blocks begins."""
    return [sum(sizes[:number]) for number in range(len(sizes))]


@lru_cache(maxsize=64)
def _matrices(layout: GridLayout, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Over slices, rows and columns: blocks of cosines along the diagonal."""
    sizes = (layout.groups, block_sizes(layout.rows), block_sizes(layout.columns))
    over_time, down, along = (torch.block_diag(*map(_cosines, each)).to(device) for each in sizes)
    return over_time, down, along


@lru_cache(maxsize=256)
def _cosines(size: int) -> Tensor:
    """DCT-II, orthonormal: (size, size), a frequency a row."""
    frequency, place = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size) + 0.5
    matrix = math.sqrt(2 / size) * torch.cos(math.pi / size * frequency * place)
    matrix[0] = 1 / math.sqrt(size)
    return matrix.float()
