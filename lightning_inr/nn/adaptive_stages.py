"""Decoder of E-NeRV and C-NeRV: a time code scales and shifts the normalised input of every stage."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.normalization import AdaptiveNorm
from lightning_inr.nn.upsample import UpsampleStage, depth_to_space


class FactoredStage(nn.Module):
    """Up-sampling with a quarter of the channels, then a convolution to all channels (E-NeRV, section 3.4).

    Where channels grow and the stride is large, a single convolution would hold most of the network's parameters.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        narrow = max(1, in_channels // 4)
        self.stride = stride
        self.grow = nn.Conv2d(in_channels, narrow * stride**2, 3, padding=1)
        self.widen = nn.Conv2d(narrow, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h * stride, w * stride)."""
        return F.gelu(self.widen(depth_to_space(self.grow(x), self.stride)))


class AdaptiveStages(nn.Module):
    """For each stride an `AdaptiveNorm` and an up-sampling stage; the first stage is factored if it widens."""

    def __init__(self, channels: int, widths: Sequence[int], strides: Sequence[int], code_width: int) -> None:
        super().__init__()
        self.norms, self.stages = nn.ModuleList(), nn.ModuleList()
        for number, (width, step) in enumerate(zip(widths, strides, strict=True)):
            self.norms.append(AdaptiveNorm(channels, code_width))
            if number == 0 and channels <= width:
                self.stages.append(FactoredStage(channels, width, step))
            else:
                self.stages.append(UpsampleStage(channels, width, step, 3, activation=F.gelu))
            channels = width

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, channels, h, w), code (B, code_width) -> (B, widths[-1], h * strides, w * strides)."""
        for norm, stage in zip(self.norms, self.stages, strict=True):
            x = stage(norm(x, code))
        return x


def halved_channels(channels: float, expansion: float, least: float, count: int) -> list[int]:
    """Channels of `count` stages as in NeRV: `expansion * channels`, then halved per stage, not below `least`."""
    first = [max(1, round(channels * expansion))]
    return first + [max(1, round(max(channels * expansion / 2**number, least))) for number in range(1, count)]
