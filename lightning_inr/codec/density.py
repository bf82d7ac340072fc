"""What coding a tensor will cost, while its values still move: a density fitted to them, differentiable in them.

Values are counted in quantisation steps. With uniform noise in place of rounding (Ballé et al. 2017), the bits of a
value are −log₂ of the density's mass within half a step of it. Each density is fitted to the tensor in closed form.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LEAST_MASS = 1e-9  # no value costs more than 30 bits: far outliers would stop the gradients of all others
HALF_WIDTH = 2048  # a histogram's bins on either side of zero


def laplace_bits(values: Tensor) -> Tensor:
    """Bits of each value under the Laplace density of their mean distance from zero."""
    scale = values.detach().abs().mean().clamp_min(1e-3)
    distance, half = values.abs() / scale, 0.5 / scale
    # Beyond half a step the mass is exp(−d) sinh(half), in logarithms so that no scale overflows.
    beyond = distance - half - torch.log1p(-torch.exp(-2 * half)) + math.log(2)
    across = 1 - 0.5 * (torch.exp(distance.clamp_max(half) - half) + torch.exp(-distance - half))
    nats = torch.where(distance >= half, beyond, -across.clamp_min(LEAST_MASS).log())
    return nats.clamp_max(-math.log(LEAST_MASS)) / math.log(2)


def laplace_slopes(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Derivatives of the bits of `values` (any shape), each group under a Laplace density of its own.

    `groups`, of the same shape, are numbers below `count`. Beyond half a step the slope is the density's; within, where
    a value is rounded to zero, it falls to zero with it, as noise in place of rounding would have it on average.
    """
    distance, flat = values.abs(), groups.flatten()
    sums = torch.zeros(count, device=values.device).index_add_(0, flat, distance.flatten())
    sizes = torch.zeros(count, device=values.device).index_add_(0, flat, torch.ones_like(distance).flatten())
    # Uniform noise alone has a mean distance of a quarter; what is nearer to zero is coded for nothing.
    pace = 1 / (sums / sizes.clamp_min(1)).clamp_min(0.05) / math.log(2)
    return (2 * values).clamp_(-1, 1).mul_(pace[groups])


def gaussian_bits(values: Tensor) -> Tensor:
    """Bits of each value under the normal density of their mean square."""
    scale = values.detach().square().mean().sqrt().clamp_min(1e-3)
    mass = torch.special.ndtr((values + 0.5) / scale) - torch.special.ndtr((values - 0.5) / scale)
    return -mass.clamp_min(LEAST_MASS).log2()


def factorised_bits(values: Tensor) -> Tensor:
    """Bits of each value under the tensor's own histogram, linear between whole steps.

    C-NeRV learns a cumulative function by gradient for this; the histogram is the best one at every moment.
    """
    values = values.clamp(-HALF_WIDTH, HALF_WIDTH)
    below = values.detach().floor().clamp_max(HALF_WIDTH - 1)
    share = values - below
    bins = (below + HALF_WIDTH).long()
    # Each value counts in the two bins beside it, and every bin has a thousandth of a value from the start.
    mass = torch.full((2 * HALF_WIDTH + 1,), 1e-3, device=values.device)
    mass.index_add_(0, bins.flatten(), 1 - share.detach().flatten())
    mass.index_add_(0, bins.flatten() + 1, share.detach().flatten())
    mass = mass / mass.sum()
    return -torch.lerp(mass[bins], mass[bins + 1], share).clamp_min(LEAST_MASS).log2()


DENSITIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "laplace": laplace_bits,
    "gaussian": gaussian_bits,
    "factorised": factorised_bits,
}
