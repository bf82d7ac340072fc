"""T-NeRV (Saethre, Azevedo and Schroers, CVPR 2024): embeddings of single frames, and temporal grids shared by them.

frame -> ConvNeXt encoder, + MLP of t -> embedding (stored with the decoder) \\
t -> temporal grids of several resolutions --------------------------------- -> 5x5 convolution -> blocks -> as FFNeRV
t -> MLP -> code: scale and shift of the normalisation in every block

Written from the paper's supplement (its tables 6 to 8); the main text was not available. The tables' 12.4, 3.0 and
9.3 M parameters, for 600 frames, are reached within 1 % if the embeddings are counted and the temporal augmentation,
which the tables list under the encoder, is not: therefore only the encoder has the augmentation, and its result is
stored as part of the embeddings. Chosen here: the augmentation is added; for "not regular 5x5 convolutions", the first
convolution is 5x5, and a block normalises its input, halves its channels with a 1x1 convolution and then convolves
3x3; of the structures counted, with all blocks alike, this one is closest to the three sizes. RGB and motion come from
1x1 convolutions; grids are read as in `ff_nerv`; every layer of the time code ends in GELU. The encoder gets only the
frames of a step, so a neighbour that no step has rendered yet is black.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.errors import UserError
from lightning_inr.models.flow_guided import GUIDED_CHANNELS, MOTION_CHANNELS, Draft, FlowGuided
from lightning_inr.models.hybrid import HybridRepresentation
from lightning_inr.models.options import check_list, check_number, check_range, check_strides
from lightning_inr.nn.convnext import ConvNeXtEncoder
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.nn.normalization import AdaptiveNorm
from lightning_inr.nn.temporal_grid import TemporalGrids
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.types import VideoShape, Window


@dataclass(frozen=True)
class TNeRVConfig:
    """The paper's 12.4 M parameters at 720p; in lists with one entry per stride, surplus entries are not used."""

    channels: float = 231.0  # before the first block; every share is a multiple of it
    width_shares: tuple[float, ...] = (0.8333, 0.6944, 0.5787, 0.4823, 0.4019)  # channels of each block, one per stride
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    embedding_share: float = 0.1515  # channels of a frame's embedding; 0: grids only (E2)
    grid_frames: tuple[int, ...] = (64, 128, 256)  # maps over the video, one grid each; empty: embeddings only (E1)
    grid_share: float = 0.1299  # channels of each grid
    encoder_blocks: tuple[int, ...] = (3, 3, 9, 6, 3)  # one number per stride; HNeRV's small encoder has 1 each (E4)
    encoder_widths: tuple[int, ...] = (64, 128, 256, 512)  # of every stage but the last; 64 in the small encoder (E4)
    temporal_augmentation: bool = True  # (E3)
    augmentation_width: int = 512
    flow_guidance: bool = True  # (D1)
    adaptive_norm: bool = True  # (D2)
    regular_convolutions: bool = False  # blocks of 5x5 convolutions (D3)
    time_width: int = 256
    code_width: int = 128
    octaves: int = 80
    base: float = 1.25

    def __post_init__(self) -> None:
        for name in ("strides", "width_shares", "grid_frames", "encoder_blocks", "encoder_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_strides(self.strides)
        depth = len(self.strides)
        if not depth <= len(self.width_shares) <= 8:
            raise ValueError(f"width_shares={list(self.width_shares)}: give at least {depth}, one a stride, at most 8")
        for share in self.width_shares:
            check_number("width_shares", share, 1 / 64, 64)
        check_list("grid_frames", self.grid_frames, (0, 8), 1, 65536)
        check_list("encoder_blocks", self.encoder_blocks, (depth, 8), 0, 64)
        check_list("encoder_widths", self.encoder_widths, (depth - 1, 8), 1, 4096)
        check_number("channels", self.channels, 1, 4096)
        check_number("embedding_share", self.embedding_share, 0, 16)
        check_number("grid_share", self.grid_share, 1 / 4096, 16)
        for name in ("augmentation_width", "time_width", "code_width"):
            check_range(name, getattr(self, name), 1, 8192)
        check_range("octaves", self.octaves, 1, 256)
        check_number("base", self.base, 1.001, 4)
        for name in ("temporal_augmentation", "flow_guidance", "adaptive_norm", "regular_convolutions"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)}: choose true or false")
        if not self.embedding_share and not self.grid_frames:
            raise ValueError("embedding_share=0, grid_frames=[]: choose at least one, or every frame is the same")

    def scaled(self, share: float) -> int:
        """`share` times `channels`, rounded, at least 1."""
        return max(1, round(self.channels * share))


class FrameEncoder(nn.Module):
    """Encoder of a frame to its embedding: ConvNeXt, plus an MLP of the time (the temporal augmentation)."""

    def __init__(self, config: TNeRVConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        depth = len(config.strides)
        widths = [*config.encoder_widths[: depth - 1], shape[0]]
        self.convolutions = ConvNeXtEncoder(config.strides, config.encoder_blocks[:depth], widths)
        width, cells = config.augmentation_width, shape[0] * shape[1] * shape[2]
        self.augmentation = (
            perceptron(2 * config.octaves, width, width, cells) if config.temporal_augmentation else None
        )

    def forward(self, frames: Tensor, time: Tensor) -> Tensor:
        """Frames (B, 3, H, W), relative times (B,) in [0, 1) -> (B, *shape)."""
        encoded = self.convolutions(frames)
        if self.augmentation is None:
            return encoded
        time_code = frequency_code(time, self.config.base, self.config.octaves)
        return encoded + self.augmentation(time_code).view_as(encoded)


class TNeRVBlock(nn.Module):
    """Normalisation by the time code, a 1x1 and a 3x3 convolution (or one of 5x5), pixel shuffle, GELU."""

    def __init__(self, channels: int, width: int, stride: int, config: TNeRVConfig) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(channels, config.code_width) if config.adaptive_norm else None
        self.squeeze: nn.Conv2d | None = None
        if not config.regular_convolutions:
            self.squeeze = nn.Conv2d(channels, max(1, channels // 2), 1)
            channels = self.squeeze.out_channels
        self.grow = UpsampleStage(channels, width, stride, 5 if config.regular_convolutions else 3, activation=F.gelu)

    def forward(self, x: Tensor, code: Tensor | None) -> Tensor:
        """x (B, channels, h, w), code (B, code_width) -> (B, width, h * stride, w * stride)."""
        if self.norm is not None and code is not None:
            x = self.norm(x, code)
        return self.grow(x if self.squeeze is None else self.squeeze(x))


class TNeRV(FlowGuided, HybridRepresentation):
    """Embeddings, temporal grids and one decoder of both; parameters are those of `TNeRVConfig`."""

    Config = TNeRVConfig

    def __init__(self, video: VideoShape, config: TNeRVConfig) -> None:
        stride = math.prod(config.strides)
        raster = -(-video.height // stride), -(-video.width // stride)
        shape = (config.scaled(config.embedding_share), *raster)
        super().__init__(video, config, {"frame": shape} if config.embedding_share else {})
        each = [config.scaled(config.grid_share)] * len(config.grid_frames)
        self.grids = TemporalGrids(config.grid_frames, each, *raster)
        inputs = (shape[0] if config.embedding_share else 0) + self.grids.channels
        widths = [config.scaled(share) for share in (1.0, *config.width_shares[: len(config.strides)])]
        self.before = nn.Conv2d(inputs, widths[0], 5, padding=2)
        self.time_code: nn.Module | None = None
        if config.adaptive_norm:
            width = config.time_width
            self.time_code = nn.Sequential(perceptron(2 * config.octaves, width, width, config.code_width), nn.GELU())
        self.blocks = nn.ModuleList(
            TNeRVBlock(*each, step, config) for each, step in zip(pairwise(widths), config.strides, strict=True)
        )
        self.motion_after = max(1, len(config.strides) - 2)  # blocks
        width = widths[self.motion_after]
        self.motion = nn.Conv2d(width, MOTION_CHANNELS, 1) if config.flow_guidance else None
        self.head = nn.Conv2d(widths[-1], GUIDED_CHANNELS if config.flow_guidance else 3, 1)
        if config.embedding_share:
            self.encoder = FrameEncoder(config, shape)
        else:
            self.embeddings_stored = True  # there is no encoder

    @property
    def can_draft(self) -> bool:
        """Whether the embeddings of all training frames are stored."""
        return self.embeddings_stored

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: embeddings, grid or base; None for the encoder."""
        return "grid" if name.startswith("grids.") else super().role_of(name)

    def embed(self, index: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Frame positions (B,), frames (B, 3, *padded) -> frame: (B, C, h, w)."""
        assert self.encoder is not None
        return {"frame": self.encoder(frames, self.time(index))}

    def training_outputs(self, index: Tensor, frames: Tensor, window: Window | None = None) -> dict[str, Tensor]:
        """The outputs that training compares with whole `frames`, (B, 3, H, W): final, aggregated, independent."""
        if window is not None and not self.embeddings_stored:
            raise UserError("data.window: an encoder reads whole frames; choose data.window=null")
        return super().training_outputs(index, frames, window)

    def fitted_draft(self, index: Tensor, frames: Tensor) -> Draft:
        """The drafts from the encoder's embeddings of `frames`, until the embeddings are stored."""
        if self.embeddings_stored:
            return self.draft(index)
        return self.draft_of(self.embed(index, self.pad(frames)), index)

    def draft(self, index: Tensor) -> Draft:
        """Frame positions (B,) -> their drafts, from stored embeddings."""
        return self.draft_of(self.stored_at(index), index)

    def decode_embeddings(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Embeddings, frame positions (B,) -> logits of the independent frames (B, 3, *padded)."""
        return self.draft_of(embeddings, index).head[:, :3]

    def draft_of(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Draft:
        """Embeddings, frame positions (B,) -> their drafts."""
        parts = list(embeddings.values())
        if self.config.grid_frames:
            parts.append(self.grids((index.float() + 0.5) / self.video.frames))
        x = F.gelu(self.before(torch.cat(parts, dim=1)))
        code = None
        if self.time_code is not None:
            code = self.time_code(frequency_code(self.time(index), self.config.base, self.config.octaves))
        for block in self.blocks[: self.motion_after]:
            x = block(x, code)
        motion = None if self.motion is None else self.motion(x)
        for block in self.blocks[self.motion_after :]:
            x = block(x, code)
        head = self.head(x)
        return Draft(head, head[:, 3:] if motion is None else motion)


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers between consecutive `widths`, with GELU between the layers."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.GELU(), nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers[1:])
