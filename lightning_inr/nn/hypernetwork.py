"""From a frame's latent to the two factors of a layer's modulation."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule


class Hypernetwork(ResettableModule):
    """z (B, D) -> P (B, out, rank), Q (B, in, rank), through `depth` tanh layers of `width`.

    The product P Qᵀ starts at `start` in every entry: P's weights start at zero while Q's do not,
    so the modulated layer begins as a plain one and still learns at full speed.
    """

    def __init__(
        self, latent_dim: int, depth: int, width: int, in_features: int, out_features: int, rank: int, start: float
    ) -> None:
        super().__init__()
        self.rows, self.rank = out_features, rank
        sizes = [latent_dim] + [width] * depth
        hidden: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            hidden += [nn.Linear(fan_in, fan_out), nn.Tanh()]
        self.hidden = nn.Sequential(*hidden)
        self.factors = nn.Linear(sizes[-1], rank * (out_features + in_features))
        self.product = start

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the starting values."""
        weight = self.factors.weight.view(-1, self.rank, self.factors.in_features)  # (out + in, rank, width)
        bias = self.factors.bias.view(-1, self.rank)
        weight[: self.rows] = 0
        bias.zero_()
        if self.product:
            bias[: self.rows, 0] = self.product
            bias[self.rows :, 0] = 1
            weight[self.rows :, 0] = 0

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> (B, out, rank), (B, in, rank)."""
        factors = self.factors(self.hidden(z)).unflatten(1, (-1, self.rank))  # (B, out + in, rank)
        return factors[:, : self.rows], factors[:, self.rows :]
