"""HNeRV-Boost (Zhang et al., "Boosting Neural Representations for Videos with a Conditional Decoder", CVPR 2024).

frame -> ConvNeXt encoder -> embedding (stored with the decoder) -> 1x1 convolution -> stages of one or two
3x3 convolutions, each scaled and shifted by a code of t and followed by a sine -> 3x3 convolution -> RGB
t -> sines and cosines -> two linear layers -> the code

The available description does not specify the depth of the layers of scale and shift, nor whether the first and the
last convolution have them: here each is one linear layer, the first convolution has them and the last has not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lightning_inr.models.hnerv import HNeRV, HNeRVConfig
from lightning_inr.models.options import check_list, check_number, check_range
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.nn.transformed import TransformedStage
from lightning_inr.types import VideoShape


@dataclass(frozen=True)
class HNeRVBoostConfig(HNeRVConfig):
    """3 M parameters for 132 frames of 720p: an embedding of 16x9x16, strides 5, 2, 2, 2, 2."""

    channels: float = 103.5
    first_kernel: int = 3
    largest_kernel: int = 3
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    convolutions: tuple[int, ...] = (1, 1, 2, 2, 2)  # per stage; the first of each stage up-samples
    code_hidden: int = 64
    code_width: int = 32
    octaves: int = 80  # frequencies of the time code
    base: float = 1.25  # ratio of two neighbouring frequencies

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        check_list("convolutions", self.convolutions, (len(self.strides), len(self.strides)), 1, 16)
        check_range("code_hidden", self.code_hidden, 1, 4096)
        check_range("code_width", self.code_width, 1, 4096)
        check_range("octaves", self.octaves, 1, 256)
        check_number("base", self.base, 1.001, 4)


class HNeRVBoost(HNeRV):
    """HNeRV with a decoder conditioned on time; parameters are those of `HNeRVBoostConfig`."""

    Config = HNeRVBoostConfig

    def __init__(self, video: VideoShape, config: HNeRVBoostConfig) -> None:
        super().__init__(video, config)
        self.code = nn.Sequential(
            nn.Linear(2 * config.octaves, config.code_hidden), nn.GELU(),
            nn.Linear(config.code_hidden, config.code_width), nn.GELU(),
        )  # fmt: skip
        channels = config.width(0)
        self.stem = TransformedStage(config.embedding_channels, channels, self.grow, 1, config.code_width)
        self.blocks = nn.ModuleList()
        for number, (step, count) in enumerate(zip(config.strides, config.convolutions, strict=True)):
            width, kernel = config.width(number + 1), config.kernel(number)
            for stride in [step] + [1] * (count - 1):
                self.blocks.append(TransformedStage(channels, width, stride, kernel, config.code_width))
                channels = width

    def decode_embeddings(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Embeddings and frame positions (B,) -> logits (B, 3, *padded)."""
        code = self.code(frequency_code(self.time(index), self.config.base, self.config.octaves))
        x = self.stem(embeddings["content"], code)
        for block in self.blocks:
            x = block(x, code)
        return self.head(x)
