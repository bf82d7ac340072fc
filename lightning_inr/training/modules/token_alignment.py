"""Fit a video and train its latents to give the visual tokens of a video language model."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.errors import UserError
from lightning_inr.losses import token_loss
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.modules.alignment import AlignmentModule
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.types import FrameBatch, TokenSpace


class TokenAlignmentModule(AlignmentModule):
    """Minimises L + μ·(L_MSE + λ·L_cos) between visual tokens from latents and the teacher's (Latent-INR, Eq. 7).

    L: the loss of `CompressionModule`, or that of `AlignmentModule` if the batches have teacher embeddings; L_MSE and
    L_cos: mean squared error and cosine distance of the tokens; μ: `token_weight`; λ: `cosine_weight`. Call
    `set_token_target` before the fit.
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
        """Set the teacher's visual tokens `target` (K, d) that the fit matches, and the projector it uses.

        With `reader`, a shared projector that stays fixed, the tokens come from normalised frame embeddings. Without
        one, the net gets a projector of its own, with initial values from least squares.
        """
        self.register_buffer("target", target, persistent=False)
        self.frames = space.sampling.frames
        if reader is not None:
            self.reader = reader.requires_grad_(False)
            return
        self.net.attach_projector(space)
        assert self.net.projector is not None
        self.net.projector.init_least_squares(self.net.pool_latents(self.net.sample_positions(self.frames)), target)

    def predict_tokens(self) -> Tensor:
        """The visual tokens (K, d) from the present latents."""
        if self.reader is None:
            return self.net.visual_tokens()
        embeddings = self.net.frame_embeddings(self.net.sample_positions(self.frames))
        with full_precision(embeddings.device):  # as for a decoded file, and as in `net.visual_tokens`
            return self.reader(F.normalize(embeddings, dim=-1))

    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The frame loss, the weighted token loss, and the alignment term if `batch` has teacher embeddings."""
        base = AlignmentModule if batch.teacher is not None else CompressionModule
        distance = token_loss(self.predict_tokens(), self.target, self.cosine_weight)
        return {**base.terms(self, outputs, batch), "tokens": self.token_weight * distance}
