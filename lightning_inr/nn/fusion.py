"""Gated fusion of the two feature streams of DNeRV: a gate per value blends the first with a proposal."""

import torch
from torch import Tensor, nn


class GatedFusion(nn.Module):
    """Content c and difference d -> s p + (1 - s) c, with p = tanh(A c + B d) and s = σ(E c + F d), as in a GRU."""

    def __init__(self, channels: int, second_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels + second_channels, 2 * channels, 3, padding=1)  # A, B, E and F in one

    def forward(self, content: Tensor, difference: Tensor) -> Tensor:
        """(B, channels, h, w) and (B, second_channels, h, w) -> the shape of the first."""
        proposal, gate = self.mix(torch.cat([content, difference], dim=1)).chunk(2, dim=1)
        return torch.lerp(content, proposal.tanh(), gate.sigmoid())
