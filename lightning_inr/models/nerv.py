"""NeRV (Chen et al., NeurIPS 2021): a decoder renders each frame from the sines and cosines of its time.

t -> (sin bⁱπt, cos bⁱπt) -> two linear layers -> a small map -> blocks of convolution and pixel shuffle -> RGB
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.options import check_number, check_range, check_strides
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.types import VideoShape


@dataclass(frozen=True)
class NeRVConfig:
    """The paper's NeRV-S at 720p: a map of 9x16, strides 5, 2, 2, 2, 2."""

    channels: float = 26.0  # of the map
    expansion: float = 1.0  # the first block's channels, as a multiple of `channels`; then each block halves them
    least_channels: int = 96  # lower limit of every block but the first
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    stem_width: int = 512
    octaves: int = 40  # frequencies of the time code; L in the paper
    base: float = 1.25  # ratio of two neighbouring frequencies; b in the paper

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        check_strides(self.strides)
        check_number("channels", self.channels, 1, 4096)
        check_number("expansion", self.expansion, 1 / 64, 64)
        check_range("least_channels", self.least_channels, 1, 4096)
        check_range("stem_width", self.stem_width, 1, 8192)
        check_range("octaves", self.octaves, 1, 256)
        check_number("base", self.base, 1.001, 4)


class NeRV(RasterRepresentation):
    """A decoder from time to frames, without parameters of single frames; parameters are those of `NeRVConfig`."""

    Config = NeRVConfig
    size_knobs = ("channels", "stem_width")

    def __init__(self, video: VideoShape, config: NeRVConfig) -> None:
        super().__init__(video, config)
        channels, wanted = round(config.channels), config.channels * config.expansion
        self.stem = nn.Sequential(
            nn.Linear(2 * config.octaves, config.stem_width), nn.GELU(),
            nn.Linear(config.stem_width, channels * self.rows * self.columns), nn.GELU(),
        )  # fmt: skip
        self.blocks = nn.Sequential()
        for step in config.strides:
            width = max(round(wanted), config.least_channels) if len(self.blocks) else max(1, round(wanted))
            self.blocks.append(UpsampleStage(channels, width, step, 3, activation=F.gelu))
            channels, wanted = width, wanted / 2
        self.head = nn.Conv2d(channels, 3, 1)

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded)."""
        x = self.stem(frequency_code(self.time(index), self.config.base, self.config.octaves))
        x = x.unflatten(1, (self.rows, self.columns, -1)).permute(0, 3, 1, 2)  # channels last
        return self.head(self.blocks(x))
