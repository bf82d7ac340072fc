"""Base class of hybrid representations: an encoder embeds each frame, and the embeddings are stored with the decoder.

HNeRV (Chen et al., CVPR 2023) and its descendants. The encoder is used in training only; the file holds the
embeddings of the training frames, so that decoding does not need the source.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.errors import UserError
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.upsample import logits_to_rgb
from lightning_inr.types import FrameBatch, VideoShape, Window


class HybridRepresentation(RasterRepresentation):
    """A raster decoder of embeddings, one set per training frame; `shapes` gives each kind and its (C, h, w)."""

    def __init__(self, video: VideoShape, config: Any, shapes: Mapping[str, tuple[int, int, int]]) -> None:
        super().__init__(video, config)
        self.embeddings = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(len(video.training_frames), *shape)) for name, shape in shapes.items()}
        )
        self.encoder: nn.Module | None = None  # subclasses set it; None in a decoder
        self.embeddings_stored = False  # whether the stored embeddings replace the encoder, also in training

    @abstractmethod
    def embed(self, index: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Frame positions (B,) and frames (B, 3, *padded) for training -> kind -> embeddings (B, C, h, w)."""

    @abstractmethod
    def decode_embeddings(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Embeddings, and frame positions (B,) for layers that depend on time -> logits (B, 3, *padded)."""

    def reset_parameters(self) -> None:
        """Set the initial values; the embeddings get theirs from `store_embeddings`."""
        super().reset_parameters()
        for table in self.embeddings.values():
            nn.init.normal_(table, std=0.1)

    def decoder_only(self) -> None:
        """Remove the encoder."""
        self.encoder, self.embeddings_stored = None, True

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: embeddings or base; None for the encoder."""
        if name.startswith("encoder."):
            return None
        return "embeddings" if name.startswith("embeddings.") else "base"

    def stored_at(self, index: Tensor) -> dict[str, Tensor]:
        """kind -> (B, C, h, w), linear between training frames (HNeRV, section 4.3), constant beyond the ends."""
        position = (index.float() / self.video.stride).clamp(0, len(self.video.training_frames) - 1)
        before = position.floor().long()
        after = (before + 1).clamp_max(len(self.video.training_frames) - 1)
        share = (position - before)[:, None, None, None]
        return {name: torch.lerp(table[before], table[after], share) for name, table in self.embeddings.items()}

    def latent(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> (B, D), all embeddings of a frame, concatenated."""
        return torch.cat([each.flatten(1) for each in self._own_at(index)], dim=1)

    def pool_latents(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> (B, D), the means of a frame's embeddings over their cells, concatenated."""
        return _means(self._own_at(index))

    def training_embeddings(self, index: Tensor, frames: Tensor) -> Tensor:
        """As `frame_embeddings`, but from the encoder's output for `frames` until the embeddings are stored."""
        if self.embeddings_stored:
            return self.frame_embeddings(index)
        return self.project_semantic(_means(self.embed(index, self.pad(frames)).values()))

    def _own_at(self, index: Tensor) -> Collection[Tensor]:
        if not self.embeddings:
            raise UserError(f"{type(self).__name__} has no embeddings, only grids; set model.embedding_share above 0")
        return self.stored_at(index).values()

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded), from stored embeddings."""
        return self.decode_embeddings(self.stored_at(index), index)

    def reconstruct(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Tensor:
        """The frames decoded from their embeddings: from the encoder's output until the embeddings are stored."""
        if window is not None:
            raise UserError("data.window: an encoder reads whole frames; choose data.window=null")
        if self.embeddings_stored:
            return self(index)
        return self.decode_frames(self.embed(index, self.pad(frames)), index)

    def decode_frames(self, embeddings: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Frames (B, 3, height, width) of the video's size, decoded from `embeddings`, for training."""
        return logits_to_rgb(self.cut(self.decode_embeddings(embeddings, index)))

    @torch.no_grad()
    def store_embeddings(self, batches: Iterable[FrameBatch]) -> None:
        """Store the encoder's embeddings of every training frame; from then on they are trained as parameters."""
        if self.embeddings_stored:
            return
        for batch in batches:
            index, frames = batch.index.to(self.device), batch.frames.to(self.device)
            if frames.dtype == torch.uint8:
                frames = frames.float().div_(255)
            rows = (index / self.video.stride).long()
            for name, value in self.embed(index, self.pad(frames)).items():
                self.embeddings[name][rows] = value.float()
        self.embeddings_stored = True

    def pad(self, frames: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, *padded), by repeating the last row and column."""
        height, width = self.padded_size
        below, right = height - frames.shape[2], width - frames.shape[3]
        return F.pad(frames, (0, right, 0, below), mode="replicate") if below or right else frames


def _means(embeddings: Iterable[Tensor]) -> Tensor:
    return torch.cat([each.mean(dim=(2, 3)) for each in embeddings], dim=1)
