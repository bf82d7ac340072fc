"""Fit every stride-th frame so that held-out frames can be rendered from interpolated latents."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.types import FrameBatch


class InterpolationModule(CompressionModule):
    """Adds to the loss `smoothness` times the squared distance of each latent to the mean of its two neighbours."""

    def __init__(self, net: VideoRepresentation, smoothness: float = 0.0, **compression: Any) -> None:
        super().__init__(net, **compression)
        if not smoothness >= 0:
            raise UserError(f"module.smoothness={smoothness}: choose a number from 0")
        if smoothness and type(net).latent is VideoRepresentation.latent:
            raise UserError(f"module.smoothness={smoothness:g}: {type(net).__name__} has no latents; choose 0")
        self.smoothness = smoothness

    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The terms of `CompressionModule`, and the smoothness term.

        That is the mean squared error of the latent z_t against the mean of the latents of the neighbouring training
        frames: Eq. 4 of Latent-INR with the interpolation weight β = 1/2.
        """
        terms = super().terms(outputs, batch)
        if self.smoothness:
            stride, last = self.net.video.stride, self.net.video.frames - 1
            # The first and the last training frame have one neighbour only: they take the term of the next frame.
            reach = batch.index.clamp(stride, max(stride, last - stride))
            # In one call: with tensors this small, the time of a step grows with the number of operations.
            before, here, after = self.net.latent(torch.cat([reach - stride, reach, reach + stride])).chunk(3)
            terms["smoothness"] = self.smoothness * F.mse_loss(here, (before + after) / 2)
        return terms
