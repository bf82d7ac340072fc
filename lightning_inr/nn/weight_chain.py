"""Weights of a chain of small networks, each given by its difference from the one before."""

import torch
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule


class WeightChain(ResettableModule):
    """One layer of `links` networks; those of a span share full weights, to which all differences so far are added.

    With `span=0` all links form one span. Differences are initially zero: all networks start equal.

    An optimiser like Adam moves every parameter by about the learning rate, and a sum of many parameters by as many
    times that. To keep a long chain trainable, a difference is stored `span` times as large as its effect, and a link
    has gradients for the full weights and its own difference only, not for those between.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, links: int, span: int, spread: float) -> None:
        super().__init__()
        self.shape, self.spread = (outputs, inputs, kernel, kernel), spread
        self.span = span or links
        self.longest = min(self.span, links)  # links of the longest span
        spans = -(-links // self.span)
        size = outputs * (inputs * kernel**2 + 1)
        self.full = nn.Parameter(torch.empty(spans, size))
        self.differences = nn.Parameter(torch.empty(links - spans, size)) if links > spans else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the initial values."""
        self.full.copy_(torch.empty_like(self.full[:1]).uniform_(-self.spread, self.spread).expand_as(self.full))
        if self.differences is not None:
            self.differences.zero_()

    def forward(self, link: Tensor) -> tuple[Tensor, Tensor]:
        """Link (1,) int64 -> weight (outputs, inputs, kernel, kernel) and bias (outputs,) of that network."""
        span = link // self.span
        values = self.full.index_select(0, span)[0]
        if self.differences is not None:
            values = values + self._sum_of_differences(span, link % self.span)
        bias, weight = values.split([self.shape[0], values.numel() - self.shape[0]])
        return weight.view(self.shape), bias

    def _sum_of_differences(self, span: Tensor, steps: Tensor) -> Tensor:
        """Sum of the differences of the first `steps` (1,) links after the start of a `span` (1,): (size,)."""
        assert self.differences is not None
        before, last = span * (self.span - 1), len(self.differences) - 1
        # A fixed number of differences is read and the surplus masked: `steps` is on the device, reading it would wait.
        offsets = torch.arange(self.longest - 1, device=span.device)
        if last + 1 == self.longest - 1:
            all_of_span = self.differences.detach()
        else:
            all_of_span = self.differences.detach().index_select(0, (before + offsets).clamp_max(last))
        earlier = torch.where((offsets < steps - 1)[:, None], all_of_span, 0).sum(0)
        own = self.differences.index_select(0, (before + steps - 1).clamp(0, last))[0]
        return torch.where(steps > 0, earlier + own, 0) / self.span
