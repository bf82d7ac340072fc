"""Weights of many small networks, each a little different from the one before."""

import torch
from torch import Tensor, nn


class WeightChain(nn.Module):
    """One layer of `links` networks: those of a span share full weights, to which the differences so far are added.

    Without `span` (0) all links are one span. Differences start at zero: all networks start as one.

    Two things keep a long chain trainable, as an optimiser like Adam moves every number by about the learning rate,
    and a sum of many by as many times that. A difference is held `span` times as large as it counts; and a link
    trains the full weights and its own difference, not those between.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, links: int, span: int, spread: float) -> None:
        super().__init__()
        self.shape, self.spread = (outputs, inputs, kernel, kernel), spread
        self.span = span or links
        spans = -(-links // self.span)
        size = outputs * (inputs * kernel**2 + 1)
        self.full = nn.Parameter(torch.empty(spans, size))
        self.differences = nn.Parameter(torch.empty(links - spans, size)) if links > spans else None

    @torch.no_grad()
    def start(self) -> None:
        """Set the starting values."""
        self.full.copy_(torch.empty_like(self.full[:1]).uniform_(-self.spread, self.spread).expand_as(self.full))
        if self.differences is not None:
            self.differences.zero_()

    def forward(self, link: int) -> tuple[Tensor, Tensor]:
        """Weight (outputs, inputs, kernel, kernel) and bias (outputs,) of the network at `link`."""
        span, steps = divmod(link, self.span)
        values = self.full[span]
        if steps:
            assert self.differences is not None
            before = span * (self.span - 1)
            earlier, own = self.differences[before : before + steps - 1], self.differences[before + steps - 1]
            values = values + (earlier.detach().sum(0) + own) / self.span
        bias, weight = values.split([self.shape[0], values.numel() - self.shape[0]])
        return weight.view(self.shape), bias
