"""Fit a video as well as its bits allow."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.losses import LOSSES
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.fit import FitModule
from lightning_inr.types import FrameBatch


class CompressionModule(FitModule):
    """One loss between frames, by its name in `losses`: the mean squared error unless told otherwise."""

    def __init__(self, net: VideoRepresentation, loss: str = "mse", **fit: Any) -> None:
        super().__init__(net, **fit)
        if loss not in LOSSES:
            raise UserError(f"module.loss={loss}: choose one of {', '.join(LOSSES)}")
        self.loss_name, self.loss = loss, LOSSES[loss]

    def terms(self, views: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The loss of the frame, and of what else the net paints on its way to it, each by its weight."""
        terms = {self.loss_name: self.loss(views["final"], batch.frames)}
        for name in views.keys() - {"final"}:
            terms[name] = self.net.aux_weights[name] * self.loss(views[name], batch.frames)
        return terms
