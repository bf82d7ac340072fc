"""C-NeRV (Gomes, Azevedo and Schroers, CVPR 2023): place and time enter as a coded map, and convolutions do the rest.

(row, column, t) -> codes -> small convolutional stem -> stages of up-sampling, each after a norm that a code of t
scales and shifts -> RGB; what the paper is known for, training under the coder's own rate, is not part of the network

No code is public and the paper gives no widths. Here the stem is a 1x1 and a 3x3 convolution, the ladder of
channels is NeRV's with the factored first stage of E-NeRV, and the code of t has two layers; their widths are
ratios of `channels`.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.models.options import check_number
from lightning_inr.models.spatial import SpatialConfig, SpatialRepresentation
from lightning_inr.nn.adaptive_stages import AdaptiveStages, halving
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.types import VideoShape


@dataclass(frozen=True)
class CNeRVConfig(SpatialConfig):
    """12.4 M parameters at 720p, the size of a comparison by others."""

    channels: float = 200.0
    code_ratio: float = 0.65  # width of the code of t, as a multiple of `channels`

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("code_ratio", self.code_ratio, 1 / 64, 64)


class CNeRV(SpatialRepresentation):
    """A convolutional map from place and time to frames; parameters are those of `CNeRVConfig`."""

    Config = CNeRVConfig

    def __init__(self, video: VideoShape, config: CNeRVConfig) -> None:
        super().__init__(video, config)
        channels = max(1, round(config.channels))
        code = max(1, round(config.channels * config.code_ratio))
        # The 1x1 convolution of all three codes, in two parts: that of the place is the same for every frame.
        self.place = nn.Linear(4 * config.octaves, channels)
        self.moment = nn.Linear(2 * config.octaves, channels, bias=False)
        self.stem = nn.Conv2d(channels, channels, 3, padding=1)
        self.code = nn.Sequential(nn.Linear(2 * config.octaves, code), nn.GELU(), nn.Linear(code, code), nn.GELU())
        least = config.channels * config.least_ratio
        widths = halving(config.channels, config.expansion, least, len(config.strides))
        self.blocks = AdaptiveStages(channels, widths, config.strides, code)
        self.head = nn.Conv2d(widths[-1], 3, 1)

    def spatial_features(self) -> Tensor:
        """(1, channels, rows, columns): what the first convolution makes of the place."""
        with full_precision(self.device):
            return self.place(self.places()).unflatten(0, (1, self.rows, self.columns)).permute(0, 3, 1, 2)

    def decode_features(self, spatial_features: Tensor, index: Tensor) -> Tensor:
        """What the first convolution makes of the place, and positions (B,) -> logits (B, 3, *padded)."""
        time = frequency_code(self.time(index), self.config.base, self.config.octaves)
        # float32, for the little there is of it: the first norm magnifies what bfloat16 would lose here.
        with full_precision(self.device):
            x = F.gelu(self.stem(F.gelu(spatial_features + self.moment(time)[:, :, None, None])))
        return self.head(self.blocks(x, self.code(time)))
