"""Orthonormal cosine transform of grids over time and space; most of its coefficients are near zero.

Over time the transform spans the slices of a shot, at most 64 together; in space it spans blocks of about 8x8, and the
plane of the blocks' means is transformed again. As it is orthonormal, an error in the coefficients is as large as the
error in the grid, and gradients can be transformed in the same way.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lightning_inr.types import GridLayout

BLOCK = 8  # approximate rows and columns of a block
LONGEST = 64  # slices that are transformed together


def block_sizes(length: int) -> list[int]:
    """Sizes of blocks of about 8, as even as possible, into which `length` rows or columns are divided."""
    return _even(length, max(1, round(length / BLOCK)))


def slice_sizes(groups: Sequence[int]) -> list[int]:
    """Sizes of parts of at most 64, as even as possible, into which the slices of each shot are divided."""
    return [size for group in groups for size in _even(group, -(-group // LONGEST))]


def starts(sizes: Sequence[int]) -> list[int]:
    """The first index of each of these consecutive blocks."""
    return [sum(sizes[:number]) for number in range(len(sizes))]


def to_coefficients(table: Tensor, layout: GridLayout) -> Tensor:
    """(slices, rows * columns, channels), or any shape of that size -> float32 (slices, channels, rows, columns)."""
    planes = table.detach().float().reshape(layout.slices, layout.rows, layout.columns, layout.channels)
    return _mix_means(_transform(planes.permute(0, 3, 1, 2).contiguous(), layout, False), layout, False)


def from_coefficients(coefficients: Tensor, layout: GridLayout) -> Tensor:
    """The inverse: (slices, channels, rows, columns) -> (slices, rows * columns, channels)."""
    planes = _transform(_mix_means(coefficients, layout, True), layout, True)
    # Contiguous as the table: sums of tensors of different strides take five times as long.
    return planes.permute(0, 2, 3, 1).contiguous().view(layout.slices, layout.rows * layout.columns, layout.channels)


def _even(length: int, count: int) -> list[int]:
    return [length * (number + 1) // count - length * number // count for number in range(count)]


def _transform(planes: Tensor, layout: GridLayout, inverse: bool) -> Tensor:
    """Transform over slices, rows and columns, one after the other."""
    sizes = (tuple(slice_sizes(layout.groups)), tuple(block_sizes(layout.rows)), tuple(block_sizes(layout.columns)))
    over_time = _along(planes.flatten(1), sizes[0], inverse).view_as(planes)
    down = _along(over_time, sizes[1], inverse)
    return _along(down.mT, sizes[2], inverse).mT.contiguous()


def _along(x: Tensor, sizes: tuple[int, ...], inverse: bool) -> Tensor:
    """x (..., length, N), transformed along its next to last axis in blocks of `sizes`."""
    result = torch.empty_like(x)
    for size, where in _blocks(sizes, x.device):  # all blocks of one size together: there are two or three sizes
        matrix = cosines(size, x.device)
        blocks = x.index_select(-2, where).unflatten(-2, (-1, size))
        result.index_copy_(x.ndim - 2, where, ((matrix.T if inverse else matrix) @ blocks).flatten(-3, -2))
    return result


def _mix_means(blocks: Tensor, layout: GridLayout, inverse: bool) -> Tensor:
    """Transform the plane of the blocks' means as one block."""
    row, column = (_starts_on(blocks.device, length) for length in (layout.rows, layout.columns))
    down, along = (cosines(len(each), blocks.device) for each in (row, column))
    if inverse:
        down, along = down.T, along.T
    mixed = blocks.clone()
    mixed[:, :, row[:, None], column] = down @ blocks[:, :, row[:, None], column] @ along.T
    return mixed


@lru_cache(maxsize=64)
def _starts_on(device: torch.device, length: int) -> Tensor:
    return torch.tensor(starts(block_sizes(length)), device=device)


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], device: torch.device) -> list[tuple[int, Tensor]]:
    """Each size of a block, and the indices of all blocks of that size, block by block."""
    first_indices = starts(sizes)
    indices = {
        size: [
            position
            for first, each in zip(first_indices, sizes, strict=True)
            if each == size
            for position in range(first, first + size)
        ]
        for size in sorted(set(sizes))
    }
    return [(size, torch.tensor(each, device=device)) for size, each in indices.items()]


@lru_cache(maxsize=256)
def cosines(size: int, device: torch.device) -> Tensor:
    """Matrix of the orthonormal DCT-II: (size, size), one frequency per row."""
    frequency, position = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size) + 0.5
    matrix = math.sqrt(2 / size) * torch.cos(math.pi / size * frequency * position)
    matrix[0] = 1 / math.sqrt(size)
    return matrix.float().to(device)
