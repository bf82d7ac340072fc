"""ConvNeXt (Liu et al., CVPR 2022): the encoder of hybrid representations, and the blocks of HiNeRV."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.nn.initialise import ResettableModule, init_layer


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, (B, C, h, w) -> the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; with channels-last memory the two permutations copy nothing."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(ResettableModule):
    """Depthwise convolution, norm and two 1x1 convolutions, with a residual connection."""

    def __init__(self, channels: int, kernel: int = 7, expansion: int = 4, layer_scale: float | None = 1e-6) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = ChannelNorm(channels, eps=1e-6)
        self.widen = nn.Conv2d(channels, expansion * channels, 1)
        self.narrow = nn.Conv2d(expansion * channels, channels, 1)
        self.layer_scale = layer_scale
        self.scale = None if layer_scale is None else nn.Parameter(torch.empty(channels))

    def reset_parameters(self) -> None:
        """Set the initial values; with a small layer scale the block is close to the identity."""
        if self.scale is not None and self.layer_scale is not None:
            nn.init.constant_(self.scale, self.layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        # float32: the backward pass of a depthwise convolution takes 1.5 times as long in bfloat16 on a CPU.
        with full_precision(x.device):
            y = self.depthwise(x.float())
        y = F.gelu(self.widen(self.norm(y)))
        if self.scale is None:
            return x + self.narrow(y)
        assert self.narrow.bias is not None
        # The layer scale multiplies the weights, which have far fewer elements than the feature map.
        weight = self.narrow.weight * self.scale[:, None, None, None]
        return x + F.conv2d(y, weight, self.narrow.bias * self.scale)


class PlainConvNeXtBlock(ResettableModule):
    """A ConvNeXt block without biases, layer scale or affine norm, which may change the channels (HiNeRV).

    The residual connection exists where input and output have equally many channels. The 1x1 layers are matrix
    products on channels-last memory: twice as fast on a CPU as convolutions.
    """

    def __init__(
        self, channels: int, width: int, hidden: int, kernel: int, activation: Callable[[Tensor], Tensor] = F.gelu
    ) -> None:
        super().__init__()
        self.channels, self.width, self.activation = channels, width, activation
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.widen = nn.Linear(channels, hidden, bias=False)
        self.narrow = nn.Linear(hidden, width, bias=False)

    def reset_parameters(self) -> None:
        """Set small initial values of the last layer, whose output is added to the input."""
        init_layer(self.narrow, gain=0.4)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, width, h, w)."""
        y = F.layer_norm(self.depthwise(x).permute(0, 2, 3, 1), (self.channels,), eps=1e-6)
        y = self.narrow(self.activation(self.widen(y))).permute(0, 3, 1, 2)
        return x + y if self.width == self.channels else y


class ConvNeXtEncoder(nn.Module):
    """Encoder from frames to a small map: for each stride a convolution of that stride and `blocks` ConvNeXt blocks."""

    def __init__(self, strides: Sequence[int], blocks: Sequence[int], channels: Sequence[int], inputs: int = 3) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for number, (stride, count, width) in enumerate(zip(strides, blocks, channels, strict=True)):
            norm = ChannelNorm(inputs, eps=1e-6) if number else nn.Identity()
            down = nn.Conv2d(inputs, width, stride, stride)
            stage = nn.Sequential(norm, down, *(ConvNeXtBlock(width) for _ in range(count)))
            if not number:
                stage.insert(2, ChannelNorm(width, eps=1e-6))
            self.stages.append(stage)
            inputs = width

    def forward(self, frames: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels[-1], H / product of strides, …)."""
        for stage in self.stages:
            frames = stage(frames)
        return frames
