"""Hypernetwork: maps the latent of a frame to the two low-rank factors of a layer's modulation."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule


class Hypernetwork(ResettableModule):
    """Latents (B, D) -> factors (B, out, rank) and (B, in, rank), through `depth` tanh layers of `width`.

    Initially the product of the two factors is `start` in every entry: the weights of the first factor are zero and
    those of the second are not, so that the layer starts unmodulated and the gradient of the first factor is not zero.
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
        """Set the initial values."""
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
