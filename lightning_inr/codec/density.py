"""Estimates, for training, of the bits of a tensor: differentiable in its values, under a density fitted to them.

Values are in units of quantisation steps. With uniform noise in place of rounding (Ballé et al. 2017), the bits of a
value are −log₂ of the density's mass within half a step of it. Each density is fitted to the tensor in closed form.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LEAST_MASS = 1e-9  # limits a value to 30 bits: distant outliers would otherwise suppress the gradients of all others
HALF_WIDTH = 2048  # bins of a histogram on each side of zero
SUMS_OF_A_GROUP = 1024  # on a GPU: partial sums of `laplace_slopes`


def laplace_bits(values: Tensor) -> Tensor:
    """Bits of each value under the Laplace density whose scale is the mean absolute value."""
    scale = values.detach().abs().mean().clamp_min(1e-3)
    distance, half = values.abs() / scale, 0.5 / scale
    # Beyond half a step the mass is exp(−d) sinh(half), in logarithms so that no scale overflows.
    beyond = distance - half - torch.log1p(-torch.exp(-2 * half)) + math.log(2)
    across = 1 - 0.5 * (torch.exp(distance.clamp_max(half) - half) + torch.exp(-distance - half))
    nats = torch.where(distance >= half, beyond, -across.clamp_min(LEAST_MASS).log())
    return nats.clamp_max(-math.log(LEAST_MASS)) / math.log(2)


def laplace_slopes(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Derivatives of the bits of `values` (any shape), with a separate Laplace density per group.

    `groups` has the same shape and holds whole numbers below `count`. Beyond half a step the derivative is that of the
    density; within half a step, where a value is rounded to zero, it falls linearly to zero, which is its mean under
    uniform noise in place of rounding.
    """
    distance, flat = values.abs(), groups.flatten()
    if values.is_cuda:  # many sums of each group: a million additions to one address would wait for each other
        flat = flat + count * (torch.arange(len(flat), device=values.device, dtype=flat.dtype) % SUMS_OF_A_GROUP)
    total = count * (SUMS_OF_A_GROUP if values.is_cuda else 1)
    sums = torch.zeros(total, device=values.device).index_add_(0, flat, distance.flatten()).view(-1, count).sum(0)
    ones = torch.ones_like(distance).flatten()
    sizes = torch.zeros(total, device=values.device).index_add_(0, flat, ones).view(-1, count).sum(0)
    # Uniform noise alone has a mean absolute value of a quarter; values closer to zero cost almost nothing.
    slope = 1 / (sums / sizes.clamp_min(1)).clamp_min(0.05) / math.log(2)
    return (2 * values).clamp_(-1, 1).mul_(slope[groups])


def gaussian_bits(values: Tensor) -> Tensor:
    """Bits of each value under the normal density whose variance is the mean square."""
    scale = values.detach().square().mean().sqrt().clamp_min(1e-3)
    mass = torch.special.ndtr((values + 0.5) / scale) - torch.special.ndtr((values - 0.5) / scale)
    return -mass.clamp_min(LEAST_MASS).log2()


def factorised_bits(values: Tensor) -> Tensor:
    """Bits of each value under the tensor's own histogram, linear between whole steps.

    C-NeRV instead learns a cumulative function by gradient descent; the histogram is the optimum for present values.
    """
    values = values.clamp(-HALF_WIDTH, HALF_WIDTH)
    below = values.detach().floor().clamp_max(HALF_WIDTH - 1)
    share = values - below
    bins = (below + HALF_WIDTH).long()
    # Each value is shared between the two nearest bins, and every bin has a thousandth of a value in advance.
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
