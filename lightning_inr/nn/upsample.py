"""From features at one raster to features at a finer one."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.nn.initialise import ResettableModule


def depth_to_space(x: Tensor, stride: int) -> Tensor:
    """Pixel shuffle (Shi et al. 2016): (B, stride² C, h, w) -> (B, C, h * stride, w * stride), channels last.

    Channels are ordered (row, column, C), not (C, row, column) as in PyTorch: a pixel's channels then move as
    one piece of memory, four times as fast on a CPU.
    """
    if stride == 1:
        return x
    batch, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(batch, height, width, stride, stride, channels // stride**2)
    return cells.transpose(2, 3).reshape(batch, height * stride, width * stride, -1).permute(0, 3, 1, 2)


def logits_to_rgb(logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """What a raster network ends with: logits (B, 3, h, w) -> RGB (B, 3, *size) in [0, 1], by default at h x w.

    Where the frame grows, the logits are enlarged (bicubic) and every new pixel is painted from its own; that is
    sharper than an enlarged picture. Where it shrinks, a pixel is the mean of what is painted in its area.
    """
    # float32: in bfloat16 a sigmoid has steps as coarse as an 8-bit picture's
    logits = logits.float()
    grown = _grown(logits, size)
    return _shrunk(torch.sigmoid(_enlarge(logits, grown)), size)


def resize_painted(rgb: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """The same for frames that are painted already: RGB (B, 3, h, w) -> (B, 3, *size), both in [0, 1]."""
    rgb = rgb.float()
    return _shrunk(_enlarge(rgb, _grown(rgb, size)).clamp(0, 1), size)


def _grown(x: Tensor, size: tuple[int, int] | None) -> tuple[int, int]:
    height, width = x.shape[2:]
    return (height, width) if size is None else (max(size[0], height), max(size[1], width))


def _enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    if size == tuple(x.shape[2:]):
        return x
    # Channel by channel in memory: half as long again otherwise, on a CPU.
    return F.interpolate(x.contiguous(), size, mode="bicubic", align_corners=False)


def _shrunk(rgb: Tensor, size: tuple[int, int] | None) -> Tensor:
    return rgb if size in (None, tuple(rgb.shape[2:])) else F.interpolate(rgb, size, mode="area")


class UpsampleStage(ResettableModule):
    """Convolution, pixel shuffle by `stride`, a static grid of spatial detail added, activation.

    The grid belongs to the video, not to a frame: what every frame shares at this scale is learned once.
    `grid_channels=0` leaves it out; else `height` and `width` are the finer raster's.
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
            # Channels last, like all that a CPU convolves fast: the mix is then one matrix product.
            self.grid = nn.Parameter(torch.empty(height, width, grid_channels))
            self.mix = nn.Linear(grid_channels, channels, bias=False)

    def reset_parameters(self) -> None:
        """Set the grid's starting values."""
        if self.grid is not None:
            nn.init.normal_(self.grid, std=0.01)

    def init_output_colour(self, colour: Tensor) -> None:
        """Of a last stage: what `paint` turns into `colour` (3,), kept from where the sigmoid is flat."""
        assert self.convolution.bias is not None
        with torch.no_grad():
            self.convolution.bias.copy_(torch.logit(colour, 0.02).repeat(self.stride**2))

    def detail(self, top: int, left: int, height: int, width: int) -> Tensor | None:
        """The static addition (1, channels, height, width) of a rectangle: once per video, not per frame."""
        if self.grid is None:
            return None
        return self.mix(self.grid[top : top + height, left : left + width]).permute(2, 0, 1)[None]

    def forward(self, x: Tensor, detail: Tensor | None = None) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h * stride, w * stride)."""
        x = depth_to_space(self.convolution(x), self.stride)
        return self.activation(x if detail is None else x + detail)
