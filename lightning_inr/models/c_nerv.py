"""C-NeRV (Gomes, Azevedo and Schroers, CVPR 2023): a convolutional decoder of encoded position and time.

(row, column, t) -> codes -> small convolutional stem -> stages of up-sampling, each after a norm that a code of t
scales and shifts -> RGB

The paper's main contribution, training with the rate of the coder in the loss, is not part of the network. No code
is public and the paper gives no widths. Here the stem is a 1x1 and a 3x3 convolution, the channels of the stages are
NeRV's with the factored first stage of E-NeRV, and the code of t has two layers; their widths are ratios of `channels`.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.models.options import check_number
from lightning_inr.models.spatial import SpatialConfig, SpatialRepresentation
from lightning_inr.nn.adaptive_stages import AdaptiveStages, halved_channels
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.types import VideoShape


@dataclass(frozen=True)
class CNeRVConfig(SpatialConfig):
    """The defaults give 12.4 M parameters at 720p, the size at which T-NeRV compares it."""

    channels: float = 200.0
    code_ratio: float = 0.65  # width of the code of t, as a multiple of `channels`

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("code_ratio", self.code_ratio, 1 / 64, 64)


class CNeRV(SpatialRepresentation):
    """A convolutional decoder from position and time to frames; parameters are those of `CNeRVConfig`."""

    Config = CNeRVConfig

    def __init__(self, video: VideoShape, config: CNeRVConfig) -> None:
        super().__init__(video, config)
        channels = max(1, round(config.channels))
        code = max(1, round(config.channels * config.code_ratio))
        # The 1x1 convolution of all three codes in two parts: the spatial part is the same for every frame.
        self.place = nn.Linear(4 * config.octaves, channels)
        self.moment = nn.Linear(2 * config.octaves, channels, bias=False)
        self.stem = nn.Conv2d(channels, channels, 3, padding=1)
        self.code = nn.Sequential(nn.Linear(2 * config.octaves, code), nn.GELU(), nn.Linear(code, code), nn.GELU())
        least = config.channels * config.least_ratio
        widths = halved_channels(config.channels, config.expansion, least, len(config.strides))
        self.blocks = AdaptiveStages(channels, widths, config.strides, code)
        self.head = nn.Conv2d(widths[-1], 3, 1)

    def spatial_features(self) -> Tensor:
        """(1, channels, rows, columns): the spatial part of the first convolution."""
        with full_precision(self.device):
            return self.place(self.position_codes()).unflatten(0, (1, self.rows, self.columns)).permute(0, 3, 1, 2)

    def decode_features(self, spatial_features: Tensor, index: Tensor) -> Tensor:
        """Spatial features and frame positions (B,) -> logits (B, 3, *padded)."""
        time = frequency_code(self.time(index), self.config.base, self.config.octaves)
        # float32: the first norm magnifies the rounding errors of bfloat16, and these layers are small.
        with full_precision(self.device):
            x = F.gelu(self.stem(F.gelu(spatial_features + self.moment(time)[:, :, None, None])))
        return self.head(self.blocks(x, self.code(time)))
