"""The stage of Boosting-NeRV: a time code scales and shifts the output of a convolution, followed by a sine."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule, init_layer
from lightning_inr.nn.upsample import depth_to_space


class TransformedStage(ResettableModule):
    """Convolution, pixel shuffle by `stride`, x (1 + scale) + shift, sine."""

    def __init__(self, in_channels: int, channels: int, stride: int, kernel: int, code_width: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(in_channels, channels * stride**2, kernel, padding=kernel // 2)
        self.affine = nn.Linear(code_width, 2 * channels)

    def reset_parameters(self) -> None:
        """Set the initial values: scale and shift are close to zero."""
        init_layer(self.convolution)
        init_layer(self.affine, gain=0.1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, in_channels, h, w), code (B, code_width) -> (B, channels, h * stride, w * stride)."""
        scale, shift = self.affine(code).float().chunk(2, dim=1)
        frames = zip(x.split(1), 1 + scale, shift, strict=True)
        return torch.sin(depth_to_space(torch.cat([self._convolved(*each) for each in frames]), self.stride))

    def _convolved(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        # Scale and shift are applied to the weights, which have far fewer elements than the feature map.
        assert self.convolution.bias is not None
        scale, shift = scale.repeat(self.stride**2), shift.repeat(self.stride**2)
        weight = self.convolution.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, self.convolution.bias * scale + shift, padding=self.convolution.padding)
