"""Fit a video while its latents learn to tell a video language model what that sees in the frames."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.errors import UserError
from lightning_inr.losses import token_loss
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.alignment import AlignmentModule
from lightning_inr.training.compression import CompressionModule
from lightning_inr.types import FrameBatch, TokenSpace


class TokenAlignmentModule(AlignmentModule):
    """L + μ·(L_MSE + λ·L_cos) of the file's tokens and the teacher's (Latent-INR, Eq. 7); CLIP may teach beside it.

    μ is `token_weight`, λ `cosine_weight`. `listen` says what is to be matched; it comes before the fit.
    """

    target: Tensor

    def __init__(
        self, net: VideoRepresentation, token_weight: float = 0.01, cosine_weight: float = 1.0, **alignment: Any
    ) -> None:
        super().__init__(net, **alignment)
        if "encoder" in net.roles():
            raise UserError(
                f"module=token_alignment: embeddings of {type(net).__name__} come from frames until the fit is done; "
                "fit with module=compression, and add a projector with task=align"
            )
        for name, weight in (("token_weight", token_weight), ("cosine_weight", cosine_weight)):
            if not isinstance(weight, int | float) or not weight >= 0:
                raise UserError(f"module.{name}={weight}: choose a number from 0")
        self.token_weight, self.cosine_weight = token_weight, cosine_weight
        self.reader: nn.Module | None = None
        self.frames = 0

    @torch.no_grad()
    def set_token_target(self, target: Tensor, space: TokenSpace, reader: nn.Module | None = None) -> None:
        """Match the teacher's `target` (K, d), by a projector of the net's own or through a shared, fixed `reader`.

        A reader takes the directions of what `semantic` says; the net's own projector begins near its best.
        """
        self.register_buffer("target", target, persistent=False)
        self.frames = space.sampling.frames
        if reader is not None:
            self.reader = reader.requires_grad_(False)
            return
        self.net.attach_projector(space)
        assert self.net.projector is not None
        self.net.projector.begin(self.net.pool_latents(self.net.sample_positions(self.frames)), target)

    def predict_tokens(self) -> Tensor:
        """The tokens (K, d) that the latents stand for now."""
        if self.reader is None:
            return self.net.tokens()
        meaning = self.net.frame_embeddings(self.net.sample_positions(self.frames))
        with full_precision(meaning.device):  # as the file will be read, and as `tokens` does
            return self.reader(F.normalize(meaning, dim=-1))

    def terms(self, views: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The loss, the distance to CLIP if it teaches too, and the distance to the teacher's tokens."""
        others = AlignmentModule if batch.teacher is not None else CompressionModule
        distance = token_loss(self.predict_tokens(), self.target, self.cosine_weight)
        return {**others.terms(self, views, batch), "tokens": self.token_weight * distance}
