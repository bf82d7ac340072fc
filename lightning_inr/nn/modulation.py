"""A linear layer whose weight is multiplied entry by entry by a modulation of the frame (Latent-INR, Eq. 2).

The modulation is an activation of the product of two low-rank factors (`Hypernetwork`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Modulation(NamedTuple):
    """The activation of a modulation, and the initial value of the low-rank product."""

    sigma: Callable[[Tensor], Tensor]
    start: float  # initial value of the product, from which the activation can rise and fall

    @property
    def neutral(self) -> float:
        """sigma(start): the initial base weights are divided by it, so that the layer starts unmodulated."""
        return float(self.sigma(torch.tensor(self.start, device="cpu")))


MODULATIONS = {
    "sigmoid": Modulation(torch.sigmoid, 0.0),
    "tanh": Modulation(torch.tanh, 1.0),  # tanh(0) = 0 would set the weight to zero
    "one_plus": Modulation(lambda product: 1 + product, 0.0),
}


class ModulatedLinear(nn.Linear):
    """nn.Linear with a modulation (B, out, in) of its weight."""

    def modulated(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x (P, in), the same for all frames, or (B, P, in); modulation (B, out, in) -> (B, P, out)."""
        weight = (modulation * self.weight).transpose(1, 2)  # (B, in, out)
        return torch.matmul(x.to(weight.dtype), weight) + self.bias
