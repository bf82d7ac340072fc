"""E-NeRV (Li et al., ECCV 2022): separate branches for position and time, joined by a product and attention.

position -> code -> linear -> transformer layer, multiplied by t -> code -> two linear layers
  -> transformer layer -> a small map -> stages of up-sampling, each after a norm that t scales and shifts -> RGB

The public code applies a GELU after the layers of scale and shift, so that half of the scales start near zero and
none can become negative; here they are linear and start near one and zero. The paper keeps the widths of the
branches at every size; here they are ratios of `channels`, because in a small model the branches would dominate.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.models.options import check_number, check_range
from lightning_inr.models.spatial import SpatialConfig, SpatialRepresentation
from lightning_inr.nn.adaptive_stages import AdaptiveStages, halved_channels
from lightning_inr.nn.attention import TransformerLayer
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.types import VideoShape


@dataclass(frozen=True)
class ENeRVConfig(SpatialConfig):
    """The paper's 12.5 M parameters at 720p."""

    token_ratio: float = 1.306  # width of a token, as a multiple of `channels`: 256; 512, 128 and 64 follow from it
    heads: int = 8  # of the second transformer layer; the first has one

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("token_ratio", self.token_ratio, 1 / 64, 64)
        check_range("heads", self.heads, 1, 64)


class ENeRV(SpatialRepresentation):
    """A decoder from position and time to frames; parameters are those of `ENeRVConfig`."""

    Config = ENeRVConfig

    def __init__(self, video: VideoShape, config: ENeRVConfig) -> None:
        super().__init__(video, config)
        channels, token = max(1, round(config.channels)), config.channels * config.token_ratio
        width, half, head = (max(1, round(token / part)) for part in (1, 2, 4))
        self.place = nn.Sequential(nn.Linear(4 * config.octaves, width), nn.GELU())
        self.first_layer = TransformerLayer(width, 1, head, half)
        self.moment = _two_layers(2 * config.octaves, max(1, round(2 * token)), width)
        self.second_layer = TransformerLayer(width, config.heads, head, half)
        self.map = nn.Sequential(nn.Linear(width, channels), nn.GELU())
        self.code = _two_layers(2 * config.octaves, half, half)
        least = config.channels * config.least_ratio
        widths = halved_channels(config.channels, config.expansion, least, len(config.strides))
        self.blocks = AdaptiveStages(channels, widths, config.strides, half)
        self.head = nn.Conv2d(widths[-1], 3, 1)

    def spatial_features(self) -> Tensor:
        """(1, rows * columns, width): the spatial tokens, which do not depend on time."""
        with self._exact():
            return self.first_layer(self.place(self.position_codes())[None])

    def decode_features(self, spatial_features: Tensor, index: Tensor) -> Tensor:
        """Spatial tokens and frame positions (B,) -> logits (B, 3, *padded)."""
        time = frequency_code(self.time(index), self.config.base, self.config.octaves)
        with self._exact():
            x = self.map(self.second_layer(spatial_features * self.moment(time)[:, None]))
        x = x.unflatten(1, (self.rows, self.columns)).permute(0, 3, 1, 2)  # channels last
        return self.head(self.blocks(x, self.code(time)))

    def _exact(self) -> AbstractContextManager[object]:
        # float32: the first norm removes the common part of the tokens; bfloat16 would lose most of the rest.
        return full_precision(self.device)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs), nn.GELU())
