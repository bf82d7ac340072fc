"""FFNeRV (Lee et al., ACM Multimedia 2023): a decoder of learned temporal grids, guided by flow from neighbours.

t -> temporal grids of several resolutions -> blocks of convolution and pixel shuffle -> independent frame, mix
                      and, two blocks before the end -> motion -> neighbours, warped and weighted -> aggregated frame

The available summary of the paper gives a first expansion of 1/8 for 12.4 M parameters; only an expansion of 1 gives
that count, and it is the default here. The paper reads a grid of T maps at t T; here each map lies in the middle of
its share of the video, half a map later. Not specified, and chosen here: flows are in pixels and enlarged bilinearly;
a flow that leaves the frame reads its border; a frame position between frames has the neighbours of the nearest
training frame.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.flow_guided import GUIDED_CHANNELS, MOTION_CHANNELS, Draft, FlowGuided
from lightning_inr.models.options import check_list, check_number, check_range, check_strides
from lightning_inr.nn.initialise import init_layers
from lightning_inr.nn.temporal_grid import TemporalGrids
from lightning_inr.nn.upsample import UpsampleStage, depth_to_space
from lightning_inr.types import VideoShape

WIDE_STRIDE = 5  # a stage of this stride is never compact


@dataclass(frozen=True)
class FFNeRVConfig:
    """The paper's video representation at 720p."""

    channels: float = 156.0  # of all grids together
    grid_frames: tuple[int, ...] = (64, 128, 256, 512)  # maps over the video, one grid each
    expansion: float = 1.0  # the first block's channels, as a multiple of `channels`; then each block halves them
    least_channels: int = 96  # lower limit of every block but the first
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    groups: int = 1  # above 1: compact blocks of a grouped and a 1x1 convolution

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        object.__setattr__(self, "grid_frames", tuple(self.grid_frames))
        check_strides(self.strides)
        check_list("grid_frames", self.grid_frames, (1, 8), 1, 65536)
        check_number("channels", self.channels, 1, 4096)
        check_number("expansion", self.expansion, 1 / 64, 64)
        check_range("least_channels", self.least_channels, 1, 4096)
        check_range("groups", self.groups, 1, 64)


class CompactStage(nn.Module):
    """A grouped 3x3 convolution, a 1x1 convolution, pixel shuffle, GELU.

    Channels that the groups do not divide are padded: the input with zeros, the output with further channels, which
    the 1x1 convolution reads.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride, self.lacking, wide = stride, -in_channels % groups, channels * stride**2
        filled = wide + -wide % groups
        self.spread = nn.Conv2d(in_channels + self.lacking, filled, 3, padding=1, groups=groups)
        self.blend = nn.Conv2d(filled, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h * stride, w * stride)."""
        if self.lacking:
            x = F.pad(x, (0, 0, 0, 0, 0, self.lacking))
        return F.gelu(depth_to_space(self.blend(self.spread(x)), self.stride))


class FFNeRV(FlowGuided):
    """Temporal grids and their decoder; parameters are those of `FFNeRVConfig`."""

    Config = FFNeRVConfig
    size_knobs = ("channels", "expansion")
    motion: nn.Conv2d

    def __init__(self, video: VideoShape, config: FFNeRVConfig) -> None:
        super().__init__(video, config)
        levels = len(config.grid_frames)
        ends = [round(config.channels * level / levels) for level in range(levels + 1)]  # equal up to rounding
        each = [max(1, end - begin) for begin, end in pairwise(ends)]
        self.grids = TemporalGrids(config.grid_frames, each, self.rows, self.columns)
        channels, wanted = self.grids.channels, config.channels * config.expansion
        widths: list[int] = []
        self.blocks = nn.ModuleList()
        for number, step in enumerate(config.strides):
            width = max(1, round(max(wanted, config.least_channels) if number else wanted))
            if config.groups == 1 or step == WIDE_STRIDE:
                self.blocks.append(UpsampleStage(channels, width, step, 3, activation=F.gelu))
            else:
                self.blocks.append(CompactStage(channels, width, step, config.groups))
            widths.append(width)
            channels, wanted = width, wanted / 2
        self.motion_after = max(1, len(widths) - 2)  # blocks
        self.motion = nn.Conv2d(widths[self.motion_after - 1], MOTION_CHANNELS, 1)
        self.head = nn.Conv2d(channels, GUIDED_CHANNELS, 1)

    def reset_parameters(self) -> None:
        """Set the initial values: layers have He's, which give 1 dB more after two epochs than PyTorch's."""
        init_layers(self)
        super().reset_parameters()

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: grid or base."""
        return "grid" if name.startswith("grids.") else "base"

    def draft(self, index: Tensor) -> Draft:
        """Frame positions (B,) -> their drafts."""
        x = self.grids((index.float() + 0.5) / self.video.frames)
        for block in self.blocks[: self.motion_after]:
            x = block(x)
        motion = self.motion(x)
        for block in self.blocks[self.motion_after :]:
            x = block(x)
        return Draft(self.head(x), motion)
