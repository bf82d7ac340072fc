"""Contexts of coefficients: the magnitudes already decoded select the table of counts of the next ones.

Coefficients are coded by rising frequency within their block, all blocks and slices of one frequency together. The
context of a coefficient depends on its frequency and on the magnitudes at the next lower frequencies of its block, in
its own slice and in the two adjacent ones. Whole numbers only: every machine selects the same tables.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.codec.transform import block_sizes, slice_sizes
from lightning_inr.types import GridLayout

MEANS = 8  # contexts of the blocks' means: by their frequency over the plane, and over time
FIRST = 6  # contexts of a block's lowest frequencies, which have no lower neighbours: by their frequency over time
ACTIVITIES = (1, 2, 3, 5, 8, 13, 21)  # bounds of the classes of activity, a weighted sum of decoded magnitudes
CLASSES = len(ACTIVITIES) + 1
FREQUENCY_BOUNDS = torch.tensor([3, 5, 8])  # bounds of the classes of frequency, each with a row of contexts
CONTEXTS = MEANS + FIRST + (len(FREQUENCY_BOUNDS) + 1) * CLASSES
CAP = 15  # larger magnitudes count as this
MOST_ACTIVITY = 11 * CAP  # fits into a byte


class CoefficientPositions(NamedTuple):
    """N positions of every plane, as row * columns + column, and the data that determine their contexts."""

    here: Tensor  # (N,)
    lower: Tensor  # (5, N): positions above, left, above left, two above, two left; outside the block: index of a zero
    base: Tensor  # (N, slices, 1) uint8: the context for an activity of zero
    counts: Tensor  # (N, 1, 1) uint8: 1 where the activity counts, else 0


@lru_cache(maxsize=64)
def all_positions(layout: GridLayout, device: torch.device) -> CoefficientPositions:
    """All positions of a layout, on a device, row by row; cached for tensors of the same layout."""
    rows, columns = block_sizes(layout.rows), block_sizes(layout.columns)
    down, along = _within(rows)[:, None], _within(columns)
    frequency = down + along
    here = torch.arange(frequency.numel()).view_as(frequency)
    over_time = _within(slice_sizes(layout.groups))
    block_row = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))[:, None]
    block_column = torch.repeat_interleave(torch.arange(len(columns)), torch.tensor(columns))[None]
    distance = torch.bucketize(block_row + block_column, torch.tensor([1, 3, 7]), right=True)
    means = 2 * distance[..., None] + (over_time > 0)
    first = MEANS + over_time.clamp_max(FIRST - 1)
    others = MEANS + FIRST + CLASSES * torch.bucketize(frequency, FREQUENCY_BOUNDS, right=True)
    base = torch.where(
        frequency[..., None] == 0, means, torch.where(frequency[..., None] == 1, first, others[..., None])
    )
    lower = torch.stack(
        [
            torch.where((down >= up) & (along >= left), here - up * layout.columns - left, here.numel())
            for up, left in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
        ]
    )
    counts = (frequency > 1).view(-1, 1, 1).byte()
    all_fields = (here.flatten(), lower.flatten(1), base.flatten(0, 1)[..., None].byte(), counts)
    return CoefficientPositions(*(each.to(device) for each in all_fields))


@lru_cache(maxsize=64)
def positions_by_frequency(layout: GridLayout) -> list[CoefficientPositions]:
    """The same by rising frequency (row plus column) within the block; the first are the blocks' means. On the CPU."""
    here, lower, base, counted = all_positions(layout, torch.device("cpu"))
    frequency = block_frequencies(layout)
    order, sizes = frequency.argsort(stable=True), frequency.bincount().tolist()
    by_frequency = zip(
        here[order].split(sizes),
        lower[:, order].split(sizes, 1),
        base[order].split(sizes),
        counted[order].split(sizes),
        strict=True,
    )
    return [CoefficientPositions(*each) for each in by_frequency]


def block_frequencies(layout: GridLayout) -> Tensor:
    """The frequency of each position within its block, (rows * columns,)."""
    return (_within(block_sizes(layout.rows))[:, None] + _within(block_sizes(layout.columns))).flatten()


def _within(sizes: Sequence[int]) -> Tensor:
    """The frequency of each row, column or slice within its block, for blocks of these sizes."""
    return torch.cat([torch.arange(size) for size in sizes])


@lru_cache(maxsize=8)
def _class_of(device: torch.device) -> Tensor:
    """The class of each activity."""
    classes = [sum(activity >= bound for bound in ACTIVITIES) for activity in range(MOST_ACTIVITY + 1)]
    return torch.tensor(classes, device=device, dtype=torch.uint8)


def zero_magnitudes(layout: GridLayout) -> Tensor:
    """Input of `contexts` before any decoding: zeros (rows * columns + 1, slices, channels) uint8, on the CPU."""
    return torch.zeros(layout.rows * layout.columns + 1, layout.slices, layout.channels, dtype=torch.uint8)


def coded_magnitudes(magnitudes: Tensor, layout: GridLayout) -> Tensor:
    """Input of `contexts` when all |symbols| (slices, channels, rows, columns) are decoded, on their device."""
    planes = magnitudes.clamp_max(CAP).byte().flatten(2).permute(2, 0, 1)
    # A mean is a coefficient of the whole plane, not of its block, so it does not count here.
    inside = all_positions(layout, planes.device).base[:, :1] >= MEANS
    return torch.cat([planes * inside, planes.new_zeros(1, layout.slices, layout.channels)])


def contexts(coded_magnitudes: Tensor, where: CoefficientPositions) -> Tensor:
    """Magnitudes (rows * columns + 1, slices, channels) -> contexts of N positions, (N, slices, channels) uint8.

    They depend on magnitudes of lower frequency alone.
    """
    above, left, corner, far_above, far_left = (coded_magnitudes.index_select(0, each) for each in where.lower)
    activity = above + left  # the next lower frequencies of the same block
    beside = 2 * activity + corner + far_above + far_left
    beside[:, 1:] += activity[:, :-1]
    beside[:, :-1] += activity[:, 1:]
    classes = _class_of(coded_magnitudes.device)[beside.int()]
    return where.base + classes * where.counts
