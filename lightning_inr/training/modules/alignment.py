"""Fit a video and align its latents with the teacher embeddings of its frames."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.types import FrameBatch


class AlignmentModule(CompressionModule):
    """Minimises L + λ·(1 − cos(semantic(z_t), e_t)) (Latent-INR, Eq. 6).

    L: the loss of `CompressionModule`; z_t: the latent of frame t; e_t: the teacher embedding of frame t;
    λ: `alignment_weight`.
    """

    def __init__(self, net: VideoRepresentation, alignment_weight: float = 0.01, **compression: Any) -> None:
        super().__init__(net, **compression)
        if not alignment_weight >= 0:
            raise UserError(f"module.alignment_weight={alignment_weight}: choose a number from 0")
        self.alignment_weight = alignment_weight

    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The terms of `CompressionModule`, and λ times one minus the mean cosine to the teacher embeddings."""
        if batch.teacher is None:
            raise UserError("module=alignment: nothing to align to; add teacher=clip")
        cosine = F.cosine_similarity(self.net.training_embeddings(batch.index, batch.frames), batch.teacher)
        return {**super().terms(outputs, batch), "alignment": self.alignment_weight * (1 - cosine.mean())}
