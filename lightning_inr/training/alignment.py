"""Fit a video while its latents learn to say what a teacher sees in its frames."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.compression import CompressionModule
from lightning_inr.types import FrameBatch


class AlignmentModule(CompressionModule):
    """L + λ·(1 − cos(semantic(z_t), teacher's view of frame t)) (Latent-INR, Eq. 6); λ is `alignment_weight`."""

    def __init__(self, net: VideoRepresentation, alignment_weight: float = 0.01, **compression: Any) -> None:
        super().__init__(net, **compression)
        if not alignment_weight >= 0:
            raise UserError(f"module.alignment_weight={alignment_weight}: choose a number from 0")
        self.alignment_weight = alignment_weight

    def terms(self, views: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The loss, and the distance to the teacher by angle."""
        if batch.teacher is None:
            raise UserError("module=alignment: nothing to align to; add teacher=clip")
        angle = F.cosine_similarity(self.net.training_embeddings(batch.index, batch.frames), batch.teacher)
        return {**super().terms(views, batch), "alignment": self.alignment_weight * (1 - angle.mean())}
