"""Up-sampling of features, and the conversion of logits to RGB frames of a given size."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule


def depth_to_space(x: Tensor, stride: int) -> Tensor:
    """Pixel shuffle (Shi et al. 2016): (B, stride² C, h, w) -> (B, C, h * stride, w * stride), channels last.

    Channels are ordered (row, column, C), not (C, row, column) as in PyTorch: the channels of a pixel then stay
    contiguous in memory, which is four times as fast on a CPU. There RGB is in planes, as are the grids added to it.
    """
    if stride == 1:
        return x
    batch, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(batch, height, width, stride, stride, channels // stride**2)
    if cells.shape[-1] == 3 and not x.is_cuda:
        return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, height * stride, width * stride)
    return cells.transpose(2, 3).reshape(batch, height * stride, width * stride, -1).permute(0, 3, 1, 2)


def logits_to_rgb(logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Logits (B, 3, h, w) -> RGB (B, 3, *size) in [0, 1], by default of size h x w.

    A larger frame is computed from enlarged logits (bicubic), which is sharper than enlarging RGB. In a smaller frame
    a pixel is the mean RGB of the area it covers.
    """
    # float32: in bfloat16 the steps of a sigmoid are as coarse as those of 8-bit values
    logits = logits.float()
    enlarged = _enlarged_size(logits, size)
    return _shrink(torch.sigmoid(_enlarge(logits, enlarged)), size)


def resize_rgb(rgb: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Resize RGB frames (B, 3, h, w) -> (B, 3, *size), both in [0, 1]: bicubic if larger, area mean if smaller."""
    rgb = rgb.float()
    return _shrink(_enlarge(rgb, _enlarged_size(rgb, size)).clamp(0, 1), size)


def _enlarged_size(x: Tensor, size: tuple[int, int] | None) -> tuple[int, int]:
    height, width = x.shape[2:]
    return (height, width) if size is None else (max(size[0], height), max(size[1], width))


def _enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    if size == tuple(x.shape[2:]):
        return x
    # Contiguous memory: with channels last this takes 1.5 times as long on a CPU.
    return F.interpolate(x.contiguous(), size, mode="bicubic", align_corners=False)


def _shrink(rgb: Tensor, size: tuple[int, int] | None) -> Tensor:
    return rgb if size in (None, tuple(rgb.shape[2:])) else F.interpolate(rgb, size, mode="area")


class UpsampleStage(ResettableModule):
    """Convolution, pixel shuffle by `stride`, addition of a static grid of spatial detail, activation.

    The grid is the same for all frames of the video: detail that they share at this scale is learned once.
    `grid_channels=0` omits it; otherwise `height` and `width` are those of the up-sampled raster.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        kernel: int,
        activation: Callable[[Tensor], Tensor],
        grid_channels: int = 0,
        height: int = 0,
        width: int = 0,
    ) -> None:
        super().__init__()
        self.stride, self.activation = stride, activation
        self.convolution = nn.Conv2d(in_channels, channels * stride**2, kernel, padding=kernel // 2)
        self.grid: nn.Parameter | None = None
        if grid_channels:
            # Channels last, the memory format of fast convolutions on a CPU: `mix` is then one matrix product.
            self.grid = nn.Parameter(torch.empty(height, width, grid_channels))
            self.mix = nn.Linear(grid_channels, channels, bias=False)

    def reset_parameters(self) -> None:
        """Set the grid's initial values."""
        if self.grid is not None:
            nn.init.normal_(self.grid, std=0.01)

    def init_output_colour(self, colour: Tensor) -> None:
        """Set the bias of a last stage to the logit of `colour` (3,), limited to [0.02, 0.98]."""
        assert self.convolution.bias is not None
        with torch.no_grad():
            self.convolution.bias.copy_(torch.logit(colour, 0.02).repeat(self.stride**2))

    def detail(self, top: int, left: int, height: int, width: int) -> Tensor | None:
        """Detail of a rectangle (1, channels, height, width), added to every frame; None without a grid."""
        if self.grid is None:
            return None
        return self.mix(self.grid[top : top + height, left : left + width]).permute(2, 0, 1)[None]

    def forward(self, x: Tensor, detail: Tensor | None = None) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h * stride, w * stride)."""
        x = depth_to_space(self.convolution(x), self.stride)
        return self.activation(x if detail is None else x + detail)
