"""Fit a video with a distortion loss between frames."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.losses import LOSSES
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.modules.fit_module import FitModule
from lightning_inr.types import FrameBatch


class CompressionModule(FitModule):
    """Minimises one loss between rendered and training frames, named by its key in `losses.LOSSES`."""

    def __init__(self, net: VideoRepresentation, loss: str = "mse", **fit: Any) -> None:
        super().__init__(net, **fit)
        if loss not in LOSSES:
            raise UserError(f"module.loss={loss}: choose one of {', '.join(LOSSES)}")
        self.loss_name, self.loss = loss, LOSSES[loss]

    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """The loss of the rendered frame, and of each auxiliary output times its weight in `net.aux_weights`."""
        terms = {self.loss_name: self.loss(outputs["final"], batch.frames)}
        for name in outputs.keys() - {"final"}:
            terms[name] = self.net.aux_weights[name] * self.loss(outputs[name], batch.frames)
        return terms
