"""Coefficients coded under tables chosen by what is decoded already: a large one is seldom alone.

Coefficients are coded by rising frequency within their block, all blocks and slices of one frequency at once. What is
known of a coefficient then: its frequency, and the magnitudes at the next lower frequencies of its block, of the
blocks beside it and of the slices beside it. Whole numbers only: every machine chooses the same tables.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.codec.transform import block_sizes, slice_sizes
from lightning_inr.types import GridLayout

MEANS = 8  # contexts of the blocks' means: by their frequency over the plane, and over time
FIRST = 6  # of the lowest frequencies of a block, below which nothing is known: by their frequency over time
ACTIVITIES = (1, 2, 3, 5, 8, 13, 21)  # bounds of the classes of what is known
CLASSES = len(ACTIVITIES) + 1
HEIGHTS = torch.tensor([3, 5, 8])  # bounds of the classes of frequency, a row of contexts each
CONTEXTS = MEANS + FIRST + (len(HEIGHTS) + 1) * CLASSES
CAP = 15  # no magnitude counts as more
MOST_ACTIVITY = 11 * CAP


class Places(NamedTuple):
    """What follows from the place of a coefficient alone, for all of a layout's planes."""

    height: Tensor  # (rows, columns): frequency within the block, down plus along; 0 is the block's mean
    down: Tensor  # (rows, 1): whether the coefficient above is of the same block
    along: Tensor  # (1, columns)
    fixed: Tensor  # (slices, 1, rows, columns): the context of means and of lowest frequencies
    row: Tensor  # (rows, columns): the first of the contexts of its class of frequency


@lru_cache(maxsize=64)
def places(layout: GridLayout, device: torch.device) -> Places:
    """Of a layout, on a device; the same for all tensors that have it."""
    rows, columns = block_sizes(layout.rows), block_sizes(layout.columns)
    down = torch.cat([torch.arange(size) for size in rows])[:, None]
    along = torch.cat([torch.arange(size) for size in columns])[None]
    height = down + along
    over_time = torch.cat([torch.arange(size) for size in slice_sizes(layout.groups)])[:, None, None, None]
    block_row = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))[:, None]
    block_column = torch.repeat_interleave(torch.arange(len(columns)), torch.tensor(columns))[None]
    distance = torch.bucketize(block_row + block_column, torch.tensor([1, 3, 7]), right=True)
    means = 2 * distance + (over_time > 0)
    first = MEANS + over_time.clamp_max(FIRST - 1)
    fixed = torch.where(height == 0, means, first)
    row = MEANS + FIRST + CLASSES * torch.bucketize(height, HEIGHTS, right=True)
    return Places(*(each.to(device) for each in (height, down > 0, along > 0, fixed, row)))


@lru_cache(maxsize=8)
def _class_of(device: torch.device) -> Tensor:
    """The class of each activity."""
    classes = [sum(activity >= bound for bound in ACTIVITIES) for activity in range(MOST_ACTIVITY + 1)]
    return torch.tensor(classes, device=device)


def contexts(magnitudes: Tensor, layout: GridLayout, height: int | None = None) -> Tensor:
    """|symbols| (slices, channels, rows, columns), whole numbers -> the context of each, int64, same shape.

    Of those at one `height` alone, (slices, channels, N) row by row. A context depends on magnitudes of lower
    frequency alone.
    """
    place = places(layout, magnitudes.device)
    row, column = torch.nonzero(place.height == height if height is not None else place.height >= 0, as_tuple=True)
    # A mean is of its whole plane, not of its block, so it counts for nothing here.
    known = magnitudes.clamp_max(CAP).to(torch.int32) * (place.height > 0)
    down, along = place.down[:, 0], place.along[0]
    # Where a neighbour is of another block, or none, the index wraps around, and the factor is zero.
    above, left = known[:, :, row - 1, column] * down[row], known[:, :, row, column - 1] * along[column]
    corner = known[:, :, row - 1, column - 1] * (down[row] & along[column])
    activity = above + left  # what is next below in frequency, of the same block
    beside = 2 * activity + corner
    beside[1:] += activity[:-1]
    beside[:-1] += activity[1:]
    # One row or column has no second below: clamped, or the index would leave the plane.
    beside += known[:, :, (row - 2).clamp_min(0), column] * (down[row] & down[row - 1])
    beside += known[:, :, row, (column - 2).clamp_min(0)] * (along[column] & along[column - 1])
    chosen = torch.where(
        place.height[row, column] < 2,
        place.fixed[:, :, row, column],
        place.row[row, column] + _class_of(magnitudes.device)[beside],
    )
    return chosen if height is not None else chosen.view_as(magnitudes)
