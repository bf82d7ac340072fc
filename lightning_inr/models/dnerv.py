"""DNeRV (Zhao et al., CVPR 2023): HNeRV with a second stream for the differences between frames.

frame -> ConvNeXt encoder -> content embedding -> 1x1 convolution -> HNeRV's blocks … -> 3x3 convolution -> RGB
frame less its two neighbours -> ConvNeXt encoder -> difference embedding, two channels of a finer raster
  -> 1x1 convolution -> block of up-sampling -> joined with the content, after some of the blocks, by a gate

With held-out frames, neighbours are the nearest training frames; the first and the last frame are their own missing
neighbours. The available text of the paper does not give the widths of the second stream: here both its convolutions
are 1x1 and as wide as the content stream at the fusion, which gives the size closest to the stated one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.hnerv import HNeRV, HNeRVConfig, frame_encoder
from lightning_inr.models.options import check_list, check_range
from lightning_inr.nn.frame_store import FrameStore, rows_at
from lightning_inr.nn.fusion import GatedFusion
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.types import FrameBatch, VideoShape


@dataclass(frozen=True)
class DNeRVConfig(HNeRVConfig):
    """The paper's 3 M parameters at 960x1920, without the embeddings of 16x2x4 and 2x40x80; strides 5, 4, 4, 3, 2."""

    channels: float = 92.0
    strides: tuple[int, ...] = (5, 4, 4, 3, 2)
    difference_strides: tuple[int, ...] = (4, 3, 2)  # of the second encoder
    difference_channels: int = 2
    fusion: int = 3  # number of blocks before the streams are joined

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "difference_strides", tuple(self.difference_strides))
        check_list("difference_strides", self.difference_strides, (1, 8), 1, 64)
        check_range("difference_channels", self.difference_channels, 1, 4096)
        check_range("fusion", self.fusion, 1, len(self.strides))
        reach = math.prod(self.difference_strides)
        ratio, rest = divmod(reach, math.prod(self.strides[self.fusion :]))
        if rest or not 1 <= ratio <= 64 or math.prod(self.encoder_strides) % reach:
            raise ValueError(
                f"difference_strides={list(self.difference_strides)}: their product must divide that of the encoder's "
                f"strides and be 1 to 64 times that of the {len(self.strides) - self.fusion} strides after the fusion"
            )


class DNeRV(HNeRV):
    """Two embeddings per frame and one decoder for all frames; parameters are those of `DNeRVConfig`."""

    Config = DNeRVConfig

    def __init__(self, video: VideoShape, config: DNeRVConfig) -> None:
        super().__init__(video, config)
        reach = math.prod(config.difference_strides)
        rows, columns = self.padded_size[0] // reach, self.padded_size[1] // reach
        shape = (len(video.training_frames), config.difference_channels, rows, columns)
        self.embeddings["difference"] = nn.Parameter(torch.empty(shape))
        width = config.width(config.fusion)
        # Rounded down, not to nearest: the streams then widen one at a time, and a given size is reached more closely.
        second_width = max(1, int(config.channels / config.reduction**config.fusion))
        step = reach // math.prod(config.strides[config.fusion :])
        self.difference_stem = nn.Conv2d(config.difference_channels, second_width, 1)
        self.difference_block = UpsampleStage(second_width, second_width, step, 1, activation=F.gelu)
        self.fusion = GatedFusion(width, second_width)
        assert self.encoder is not None
        second = frame_encoder(config.difference_strides, config.encoder_width, config.difference_channels, inputs=6)
        self.encoder = nn.ModuleDict({"content": self.encoder, "difference": second})
        self.frame_store = FrameStore(
            len(video.training_frames)
        )  # training frames by row; not stored in a file, and empty after `store_embeddings`

    def embed(self, index: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Frame positions (B,) and frames (B, 3, *padded) -> content and difference, each (B, C, h, w)."""
        assert isinstance(self.encoder, nn.ModuleDict)
        self._store_frames(index, frames)
        differences = self._differences(index, frames)
        return {"content": self.encoder["content"](frames), "difference": self.encoder["difference"](differences)}

    def decode_embeddings(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Embeddings -> logits (B, 3, *padded); the frame positions are not used."""
        assert isinstance(self.blocks, nn.Sequential)
        difference = self.difference_block(F.gelu(self.difference_stem(embeddings["difference"])))
        content = self.blocks[: self.config.fusion](self.first_map(embeddings["content"]))
        return self.head(self.blocks[self.config.fusion :](self.fusion(content, difference)))

    def decoder_only(self) -> None:
        """Remove the encoders and the stored frames."""
        super().decoder_only()
        self.frame_store.clear()

    @torch.no_grad()
    def store_embeddings(self, batches: Iterable[FrameBatch]) -> None:
        """Store the embeddings of every training frame, with all neighbours available."""
        if self.embeddings_stored:
            return
        for batch in batches:
            frames = batch.frames.to(self.device)
            self._store_frames(batch.index, self.pad(frames.float() / 255 if frames.dtype == torch.uint8 else frames))
        super().store_embeddings(self._stored_frames())
        self.frame_store.clear()

    def _stored_frames(self) -> Iterator[FrameBatch]:
        for row in self.frame_store.written_rows():
            assert self.frame_store.frames is not None
            yield FrameBatch(torch.tensor([float(row * self.video.stride)]), self.frame_store.frames[row : row + 1])

    def _store_frames(self, index: Tensor, frames: Tensor) -> None:
        """Store the frames at positions of training frames; the others are blends of two frames."""
        self.frame_store.put(rows_at(self._training_positions(index), len(self.video.training_frames)), frames)

    def _differences(self, index: Tensor, frames: Tensor) -> Tensor:
        """(B, 6, *padded): the frames minus those before, and those after minus the frames."""
        positions, count = self._training_positions(index), len(self.video.training_frames)
        rows = torch.cat([rows_at((positions - 1).ceil(), count), rows_at((positions + 1).floor(), count)])
        neighbours, is_stored = self.frame_store.read(rows)
        # A neighbour that is not stored, as beyond the ends, is replaced by the frame itself.
        before, after = torch.where(is_stored[:, None, None, None], neighbours, frames.repeat(2, 1, 1, 1)).chunk(2)
        differences = torch.cat([frames - before, after - frames], dim=1)
        return differences.contiguous(memory_format=torch.channels_last)

    def _training_positions(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> positions among the training frames (B,), float64."""
        return index.to(self.device).double() / self.video.stride
