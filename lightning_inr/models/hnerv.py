"""HNeRV (Chen et al., CVPR 2023): a decoder renders each frame from a small embedding of that frame.

frame -> ConvNeXt encoder -> embedding (stored with the decoder) -> 1x1 convolution -> blocks of convolution and
pixel shuffle, kernels growing from 1 to 5, channels shrinking by 1.2 -> 3x3 convolution -> RGB

The paper gives the channels C that its solver found for each size; here `channels` may be fractional and every
block rounds its own width, so that a given size is reached more closely than by C alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.hybrid import HybridRepresentation
from lightning_inr.models.options import check_choice, check_number, check_range, check_strides
from lightning_inr.nn.convnext import ConvNeXtEncoder
from lightning_inr.nn.upsample import UpsampleStage, depth_to_space
from lightning_inr.types import VideoShape

KERNELS = (1, 3, 5, 7)


@dataclass(frozen=True)
class HNeRVConfig:
    """The paper's 1.5 M parameters at 640x1280: an embedding of 16x2x4, strides 5, 4, 4, 2, 2."""

    channels: float = 68.5  # after the first convolution; C in the paper
    reduction: float = 1.2  # each block divides the channels of the one before by this
    least_channels: int = 12  # lower limit of every block
    first_kernel: int = 1  # each block's kernel is larger by 2 than the one before
    largest_kernel: int = 5
    strides: tuple[int, ...] = (5, 4, 4, 2, 2)
    encoder_strides: tuple[int, ...] = ()  # empty: those of the decoder
    encoder_width: int = 64
    embedding_channels: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        object.__setattr__(self, "encoder_strides", tuple(self.encoder_strides) or self.strides)
        check_strides(self.strides)
        check_strides(self.encoder_strides)
        ratio, rest = divmod(math.prod(self.encoder_strides), math.prod(self.strides))
        if rest or ratio > 16:
            raise ValueError(
                f"encoder_strides={list(self.encoder_strides)}: choose a product 1 to 16 times that of "
                f"strides={list(self.strides)}"
            )
        check_number("channels", self.channels, 1, 4096)
        check_number("reduction", self.reduction, 1, 8)
        check_range("least_channels", self.least_channels, 1, 4096)
        check_choice("first_kernel", self.first_kernel, KERNELS)
        check_choice("largest_kernel", self.largest_kernel, KERNELS)
        check_range("encoder_width", self.encoder_width, 1, 4096)
        check_range("embedding_channels", self.embedding_channels, 1, 4096)

    def width(self, number: int) -> int:
        """The number of channels after `number` blocks."""
        wanted = round(self.channels / self.reduction**number)
        return max(wanted, self.least_channels) if number else max(1, wanted)

    def kernel(self, number: int) -> int:
        """The kernel size of a block, counted from 0."""
        return min(self.first_kernel + 2 * number, self.largest_kernel)


class HNeRV(HybridRepresentation):
    """An embedding per frame and one decoder for all frames; parameters are those of `HNeRVConfig`."""

    Config = HNeRVConfig

    def __init__(self, video: VideoShape, config: HNeRVConfig) -> None:
        reach = math.prod(config.encoder_strides)
        rows, columns = -(-video.height // reach), -(-video.width // reach)
        super().__init__(video, config, {"content": (config.embedding_channels, rows, columns)})
        self.grow = reach // self.stride  # from the embedding's raster to the first block's
        self.rows, self.columns = rows * self.grow, columns * self.grow
        self.stem: nn.Module = nn.Conv2d(config.embedding_channels, config.width(0) * self.grow**2, 1)
        self.blocks: nn.Sequential | nn.ModuleList = nn.Sequential(
            *(
                UpsampleStage(config.width(number), config.width(number + 1), step, config.kernel(number), F.gelu)
                for number, step in enumerate(config.strides)
            )
        )
        self.head = nn.Conv2d(config.width(len(config.strides)), 3, 3, padding=1)
        self.encoder = frame_encoder(config.encoder_strides, config.encoder_width, config.embedding_channels)

    def embed(self, index: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Frames (B, 3, *padded) -> content: (B, C, h, w)."""
        assert self.encoder is not None
        return {"content": self.encoder(frames)}

    def decode_embeddings(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Embeddings -> logits (B, 3, *padded); the frame positions are not used."""
        return self.head(self.blocks(self.first_map(embeddings["content"])))

    def first_map(self, content: Tensor) -> Tensor:
        """Embeddings (B, C, h, w) -> the input of the first block."""
        return F.gelu(depth_to_space(self.stem(content), self.grow))


def frame_encoder(strides: tuple[int, ...], width: int, channels: int, inputs: int = 3) -> ConvNeXtEncoder:
    """HNeRV's encoder: one ConvNeXt block per stride, with `width` channels, the last with `channels`."""
    widths = [width] * (len(strides) - 1) + [channels]
    return ConvNeXtEncoder(strides, [1] * len(strides), widths, inputs)
