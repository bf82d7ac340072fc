"""Grids over time whose slices are sampled at positions given by the motion of each frame."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.nn.initialise import ResettableModule
from lightning_inr.nn.timeline import SlicePair, Timeline
from lightning_inr.types import GridLayout


class WarpedGrid(ResettableModule):
    """`channels` learned maps of height x width per slice of a timeline, followed by a linear map to `outputs`."""

    def __init__(self, timeline: Timeline, height: int, width: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.timeline, self.height, self.width = timeline, height, width
        # Three axes: channels-last memory, to which models are converted, would scatter the slices of four axes.
        self.table = nn.Parameter(torch.empty(timeline.slices, height * width, channels))
        self.mix = nn.Linear(channels, outputs, bias=False)

    @property
    def layout(self) -> GridLayout:
        """The layout of the table."""
        return self.timeline.layout(self.height, self.width, self.table.shape[2])

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.normal_(self.table, std=0.01)

    def forward(self, slices: SlicePair, where: Tensor | None) -> Tensor:
        """Slices of B frame positions, sampling positions in [-1, 1] or None -> (B, outputs, height, width).

        `where`: (B, height, width, 2) for both slices of a frame position, or (2 B, height, width, 2), one for each, in
        the order of `SlicePair.slices`.
        """
        apart = where is not None and len(where) > len(slices.share)
        maps = self._maps(slices.read_both(self.table) if apart else slices.read(self.table))
        if where is not None:
            maps = _sampled(maps, where)
        if maps.is_cuda:  # channels last, as the features: the gradient of `mix` is then one product over all pixels
            maps = slices.blend(maps) if apart else maps
            return self.mix(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mix = self.mix.weight.expand(len(slices.share), -1, -1)
        if apart:  # the product below interpolates, too: one pass over the pixels less
            maps = maps.unflatten(0, (-1, 2)).flatten(1, 2)
            mix = (slices.weights[:, None, :, None] * mix[:, :, None]).flatten(2)
        # Pixels last: with few channels this product is ten times as fast on a CPU. In bfloat16 it would take longer.
        with full_precision(maps.device):
            return torch.bmm(mix, maps.flatten(2)).unflatten(2, (self.height, self.width))

    def _maps(self, read: Tensor) -> Tensor:
        """(N, height * width, channels) -> (N, channels, height, width)."""
        return read.mT.unflatten(2, (self.height, self.width))


def _sampled(maps: Tensor, where: Tensor) -> Tensor:
    return F.grid_sample(maps, where.to(maps.dtype), padding_mode="border", align_corners=False)
