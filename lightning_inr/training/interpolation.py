"""Fit every stride-th frame so that the frames between come right, too."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.compression import CompressionModule
from lightning_inr.types import FrameBatch


class InterpolationModule(CompressionModule):
    """The loss of the seen frames, and `smoothness` times how far each latent lies off the line of its neighbours."""

    def __init__(self, net: VideoRepresentation, smoothness: float = 0.0, **compression: Any) -> None:
        super().__init__(net, **compression)
        if not smoothness >= 0:
            raise UserError(f"module.smoothness={smoothness}: choose a number from 0")
        if smoothness and type(net).latent is VideoRepresentation.latent:
            raise UserError(f"module.smoothness={smoothness:g}: {type(net).__name__} has no latents; choose 0")
        self.smoothness = smoothness

    def terms(self, views: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The loss, and smoothness: of z_t against the mean of the seen neighbours' latents (Eq. 4 at β = 1/2)."""
        terms = super().terms(views, batch)
        if self.smoothness:
            stride, last = self.net.video.stride, self.net.video.frames - 1
            reach = batch.index.clamp(stride, max(stride, last - stride))  # the ends have one neighbour only
            # In one call: at this size a step is as long as its operations are many.
            before, here, after = self.net.latent(torch.cat([reach - stride, reach, reach + stride])).chunk(3)
            terms["smoothness"] = self.smoothness * F.mse_loss(here, (before + after) / 2)
        return terms
