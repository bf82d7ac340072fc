"""HiNeRV (Kwan et al., NeurIPS 2023): learned grids over time, up-sampled bilinearly and refined by ConvNeXt blocks.

    t -> base grid -> 3x3 convolution -> stages -> RGB
    stage: bilinear enlargement by s -> + local code of (t, position in the s x s cell) -> ConvNeXt blocks

The grids hold several levels, each of half as many slices in time and twice as many channels as the one before.
Widths, depths, slices and channels are those of the public configurations, and so are the parameter counts; the base
grids have a slice every `frames_per_slice` frames (40 for 132 frames, 150 for 600), the local codes one per frame.
Chosen here: with a frame stride, slices correspond to training frames, so that none is untrained; all grids are read
in the same way, their slices at the centres of equal shares of the video; initial values are He's, times 0.4 in the
last layer of a block. The paper trains on patches with margins; here whole frames are rendered, as in its decoding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.options import check_choice, check_list, check_number, check_range, check_strides
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.convnext import PlainConvNeXtBlock
from lightning_inr.nn.initialise import init_layers
from lightning_inr.nn.temporal_grid import TemporalGrid
from lightning_inr.types import VideoShape

# SiLU is close to GELU: gelu(x) ≈ silu(1.7 x) / 1.7, and the adjacent linear layers can include both factors.
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "silu": F.silu}


@dataclass(frozen=True)
class HiNeRVConfig:
    """The paper's HiNeRV-S at 720p."""

    channels: float = 280.0  # of the stem and the first stage; each further stage divides them by `reduction`
    reduction: float = 2.0
    strides: tuple[int, ...] = (5, 2, 2, 2)
    depths: tuple[int, ...] = (3, 3, 3, 1)  # blocks per stage
    expansions: tuple[float, ...] = (4.0, 4.0, 4.0, 1.0)  # of the hidden 1x1 layers, one per stage
    kernel: int = 3
    activation: str = "gelu"  # or "silu", whose gradient takes a quarter of the time on a CPU
    base_ratio: float = 0.02857  # channels of the first base grid, as a multiple of `channels`
    base_levels: int = 2
    frames_per_slice: float = 3.3  # of the first base grid
    code_ratio: float = 0.05714  # channels of the first stage's first local code; each further stage has half
    code_levels: int = 3

    def __post_init__(self) -> None:
        for name in ("strides", "depths", "expansions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_strides(self.strides)
        check_number("channels", self.channels, 1, 4096)
        check_number("reduction", self.reduction, 1, 8)
        check_list("depths", self.depths, (len(self.strides), len(self.strides)), 1, 16)
        if len(self.expansions) != len(self.strides):
            raise ValueError(f"expansions={list(self.expansions)}: give one a stride, {len(self.strides)} in all")
        for expansion in self.expansions:
            check_number("expansions", expansion, 1 / 16, 16)
        check_choice("kernel", self.kernel, (1, 3, 5, 7))
        check_choice("activation", self.activation, ACTIVATIONS)
        for name in ("base_ratio", "code_ratio"):
            check_number(name, getattr(self, name), 1e-4, 4)
        for name in ("base_levels", "code_levels"):
            check_range(name, getattr(self, name), 1, 8)
        check_number("frames_per_slice", self.frames_per_slice, 1, 4096)


class HiNeRV(RasterRepresentation):
    """Grids over time and ConvNeXt stages; parameters are those of `HiNeRVConfig`."""

    Config = HiNeRVConfig

    def __init__(self, video: VideoShape, config: HiNeRVConfig) -> None:
        super().__init__(video, config)
        frames, wanted = len(video.training_frames), config.channels
        channels = _whole(wanted)
        self.base = _levels(
            frames / config.frames_per_slice, self.rows * self.columns, wanted * config.base_ratio, config.base_levels
        )
        self.stem = nn.Conv2d(_channels(self.base), channels, 3, padding=1)
        self.stages = nn.ModuleList()
        for number, (stride, depth, expansion) in enumerate(
            zip(config.strides, config.depths, config.expansions, strict=True)
        ):
            wanted = config.channels / config.reduction**number
            code = _levels(frames, stride**2, config.channels * config.code_ratio / 2**number, config.code_levels)
            width, hidden = _whole(wanted), _whole(wanted * expansion)
            stage = HiNeRVStage(
                channels, width, hidden, stride, depth, config.kernel, code, ACTIVATIONS[config.activation]
            )
            self.stages.append(stage)
            channels = width
        self.head = nn.Linear(channels, 3)

    def reset_parameters(self) -> None:
        """Set the initial values: layers have He's, which give 1 dB more after two epochs than PyTorch's."""
        init_layers(self)
        super().reset_parameters()

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: grid (base grids and local codes) or base."""
        return "grid" if name.endswith(".table") else "base"

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded)."""
        moment = (index.float() / self.video.stride + 0.5) / len(self.video.training_frames)
        x = torch.cat([grid(moment) for grid in self.base], dim=2)
        x = self.stem(x.unflatten(1, (self.rows, self.columns)).permute(0, 3, 1, 2))  # channels last
        for stage in self.stages:
            x = stage(x, moment)
        return self.head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class HiNeRVStage(nn.Module):
    """Bilinear enlargement, addition of a local code per position within a cell, ConvNeXt blocks."""

    def __init__(
        self,
        channels: int,
        width: int,
        hidden: int,
        stride: int,
        depth: int,
        kernel: int,
        code: nn.ModuleList,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.stride, self.code = stride, code
        self.expand = nn.Linear(_channels(code), channels)
        self.blocks = nn.Sequential(
            *(
                PlainConvNeXtBlock(width if block else channels, width, hidden, kernel, activation)
                for block in range(depth)
            )
        )

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        """(B, channels, h, w) and relative times (B,) -> (B, width, h * stride, w * stride)."""
        if self.stride > 1:
            x = F.interpolate(x, scale_factor=self.stride, mode="bilinear", align_corners=False)
        code = self.expand(torch.cat([grid(moment) for grid in self.code], dim=2))  # (B, stride², channels)
        batch, channels, height, width = x.shape
        # The code is first repeated to one row of cells: the gradient's sum over whole rows is fast on a CPU.
        row = code.view(batch, self.stride, 1, self.stride, channels).expand(-1, -1, width // self.stride, -1, -1)
        rows = x.permute(0, 2, 3, 1).reshape(batch, height // self.stride, -1) + row.reshape(batch, 1, -1)
        return self.blocks(rows.view(batch, height, width, channels).permute(0, 3, 1, 2))


def _whole(wanted: float) -> int:
    return max(1, round(wanted))


def _levels(slices: float, cells: int, channels: float, levels: int) -> nn.ModuleList:
    return nn.ModuleList(
        TemporalGrid(max(1, int(_whole(slices) / 2**level)), cells, _whole(channels * 2**level))
        for level in range(levels)
    )


def _channels(grids: nn.ModuleList) -> int:
    return sum(grid.table.shape[2] for grid in grids if isinstance(grid, TemporalGrid))
