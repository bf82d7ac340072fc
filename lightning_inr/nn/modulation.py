"""A linear layer whose weight each frame scales entry by entry: y = (σ(P Qᵀ) ∘ W) x + b (Latent-INR, Eq. 2)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Modulation(NamedTuple):
    """A choice of σ, and the product P Qᵀ from which it starts."""

    sigma: Callable[[Tensor], Tensor]
    start: float  # value of P Qᵀ at which σ leaves room to move both ways

    @property
    def neutral(self) -> float:
        """σ(start): base weights start divided by it, so that the layer starts as if unmodulated."""
        return float(self.sigma(torch.tensor(self.start, device="cpu")))


MODULATIONS = {
    "sigmoid": Modulation(torch.sigmoid, 0.0),
    "tanh": Modulation(torch.tanh, 1.0),  # tanh(0) = 0 would switch the layer off
    "one_plus": Modulation(lambda product: 1 + product, 0.0),
}


class ModulatedLinear(nn.Linear):
    """nn.Linear that takes a modulation (B, out, in) of its weight."""

    def modulated(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x (P, in), the same for all frames, or (B, P, in); modulation (B, out, in) -> (B, P, out)."""
        weight = (modulation * self.weight).transpose(1, 2)  # (B, in, out)
        return torch.matmul(x.to(weight.dtype), weight) + self.bias
