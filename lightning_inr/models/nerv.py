"""NeRV (Chen et al., NeurIPS 2021): the position in time, in sines and cosines, unfolds into a frame.

t -> (sin bⁱπt, cos bⁱπt) -> two linear layers -> a small map -> blocks of convolution and pixel shuffle -> RGB
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.nn.upsample import UpsampleStage, paint, start_layer
from lightning_inr.types import VideoShape, Window, crop


@dataclass(frozen=True)
class NeRVConfig:
    """The paper's NeRV-S at 720p: a map of 9x16, strides 5, 2, 2, 2, 2."""

    channels: int = 26  # of the map
    expansion: float = 1.0  # the first block's channels, as a multiple of `channels`; then each block halves them
    least_channels: int = 96  # no block has fewer
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    stem_width: int = 512
    octaves: int = 40  # frequencies of the time code; L in the paper
    base: float = 1.25  # ratio of two neighbouring frequencies; b in the paper

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        for name, most in (("channels", 4096), ("least_channels", 4096), ("stem_width", 8192), ("octaves", 256)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"model.{name}={value}: choose a whole number from 1 to {most}")
        if not 1 <= len(self.strides) <= 8 or not all(isinstance(s, int) and 1 <= s <= 16 for s in self.strides):
            raise ValueError(f"model.strides={list(self.strides)}: give 1 to 8 whole numbers from 1 to 16")
        if not 1.0 < self.base <= 4.0:
            raise ValueError(f"model.base={self.base}: choose a number above 1, up to 4")
        if not 0.0 < self.expansion <= 64.0:
            raise ValueError(f"model.expansion={self.expansion}: choose a number above 0, up to 64")


class NeRV(VideoRepresentation):
    """One map from time to frames, with no part of its own for any frame; parameters are those of `NeRVConfig`."""

    Config = NeRVConfig

    def __init__(self, video: VideoShape, config: NeRVConfig) -> None:
        super().__init__()
        self.video, self.config = video, config
        stride = math.prod(config.strides)
        self.rows, self.columns = -(-video.height // stride), -(-video.width // stride)
        self.stem = nn.ModuleList(
            [
                nn.Linear(2 * config.octaves, config.stem_width),
                nn.Linear(config.stem_width, config.channels * self.rows * self.columns),
            ]
        )
        self.blocks = nn.ModuleList()
        channels, wanted = config.channels, config.channels * config.expansion
        for step in config.strides:
            width = max(round(wanted), config.least_channels) if self.blocks else max(1, round(wanted))
            self.blocks.append(UpsampleStage(channels, width, step, 3, activation=F.gelu))
            channels, wanted = width, wanted / 2
        self.head = nn.Conv2d(channels, 3, 1)

    def start(self) -> None:
        """Set the starting values."""
        for layer in [*self.stem, self.head]:
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            start_layer(layer)
        for block in self.blocks:
            assert isinstance(block, UpsampleStage)
            block.start()

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width that the strides give: what is painted, and cut to the video's size."""
        stride = math.prod(self.config.strides)
        return self.rows * stride, self.columns * stride

    def coded_groups(self) -> Mapping[str, list[str]]:
        """base: everything."""
        return {"base": list(self.state_dict())}

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Any = None,
    ) -> Tensor:
        """(B,) -> RGB (B, 3, h, w) in [0, 1]; a window is cut from the whole frame."""
        x = self._time_code(index)
        for layer in self.stem:
            x = F.gelu(layer(x))
        x = x.unflatten(1, (self.rows, self.columns, -1)).permute(0, 3, 1, 2)  # channels last
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)[:, :, : self.video.height, : self.video.width]
        frames = paint(logits, size)
        return frames if window is None else crop(frames, window)

    def _time_code(self, index: Tensor) -> Tensor:
        """(B,) -> (B, 2 * octaves), of t = index / frames."""
        powers = torch.arange(self.config.octaves, device=index.device)
        phase = math.pi * self.config.base**powers * (index.float() / self.video.frames)[:, None]
        return torch.cat([phase.sin(), phase.cos()], dim=1)
