"""Key frames: coarse maps, evenly spaced over the video and linear between them, upsampled to a frame.

index -> maps at that time -> blocks of convolution and pixel shuffle -> RGB
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.options import check_number, check_range, check_strides
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.temporal_grid import TemporalGrids
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.types import VideoShape


@dataclass(frozen=True)
class KeyFramesConfig:
    """Small defaults, for 320x180."""

    channels: float = 24.0  # of the maps; each block halves them
    key_frames: int = 16  # maps over the video
    strides: tuple[int, ...] = (5, 2, 2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        check_strides(self.strides)
        check_number("channels", self.channels, 1, 4096)
        check_range("key_frames", self.key_frames, 1, 65536)


class KeyFrames(RasterRepresentation):
    """Maps over time and one decoder; parameters are those of `KeyFramesConfig`."""

    Config = KeyFramesConfig
    size_knobs = ("channels",)

    def __init__(self, video: VideoShape, config: KeyFramesConfig) -> None:
        super().__init__(video, config)
        channels = round(config.channels)
        self.maps = TemporalGrids([config.key_frames], [channels], self.rows, self.columns)
        self.blocks = nn.Sequential()
        for stride in config.strides:
            width = max(6, channels // 2)
            self.blocks.append(UpsampleStage(channels, width, stride, 3, activation=F.gelu))
            channels = width
        self.head = nn.Conv2d(channels, 3, 1)

    def role_of(self, name: str) -> str | None:
        """grid, base."""
        return "grid" if name.startswith("maps.") else "base"

    def logits(self, index: Tensor) -> Tensor:
        """(B,) -> (B, 3, *padded), what a sigmoid turns into RGB."""
        moment = (index.float() + 0.5) / self.video.frames
        logits: Tensor = self.head(self.blocks(self.maps(moment)))
        return logits
