"""What every fit has in common: a view of the batch, named loss terms, an optimiser by roles."""

import functools
from abc import ABC, abstractmethod
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam, Optimizer

from lightning_inr.errors import UserError
from lightning_inr.metrics import psnr
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import FrameBatch

STEPS_BETWEEN_CHECKS = 20  # for a loss that is no number: a look waits for the device


class FitModule(L.LightningModule, ABC):
    """Fits `net`; subclasses say with `terms` what for.

    Adam without weight decay (the paper); `latent_learning_rate` is that of the role `latents`. The rate a
    step really has is the callback `Budget`'s business.
    """

    def __init__(
        self, net: VideoRepresentation, learning_rate: float = 5e-4, latent_learning_rate: float = 5e-4
    ) -> None:
        super().__init__()
        self.net = net
        self.learning_rate, self.latent_learning_rate = learning_rate, latent_learning_rate
        # Of the steps since `take_means`: kept as they are, for arithmetic on single numbers adds up too.
        self._seen: list[dict[str, Tensor]] = []

    def view(self, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        """Prediction and target (B, 3, h, w)."""
        return self.net.reconstruct(batch.index, batch.frames, batch.window), batch.frames

    @abstractmethod
    def terms(self, prediction: Tensor, target: Tensor, batch: FrameBatch) -> dict[str, Tensor]:
        """Named parts of the loss, each a scalar with its weight already in."""

    def training_step(self, batch: FrameBatch, batch_idx: int) -> Tensor:
        """The sum of the terms."""
        prediction, target = self.view(batch)
        terms = self.terms(prediction, target, batch)
        loss = functools.reduce(torch.add, terms.values())
        with torch.no_grad():
            mse = F.mse_loss(prediction, target)
        self._seen.append({name: value.detach() for name, value in {**terms, "psnr": mse}.items()})
        if self.global_step % STEPS_BETWEEN_CHECKS == 0:
            self._check(loss)
        return loss

    def take_means(self) -> dict[str, float]:
        """Means of every term, and of the batches' PSNR in dB, since the last call; empty if no step was taken."""
        seen, self._seen = self._seen, []
        values = {name: torch.stack([step[name] for step in seen]) for name in (seen[0] if seen else ())}
        return {name: float((psnr(value) if name == "psnr" else value).mean()) for name, value in values.items()}

    def configure_optimizers(self) -> Optimizer:
        """Adam, one group a role."""
        groups: list[dict[str, Any]] = []
        for role, parameters in self.net.roles().items():
            rate = self.latent_learning_rate if role == "latents" else self.learning_rate
            groups.append({"params": parameters, "lr": rate, "base_lr": rate, "role": role})
        return Adam(groups, fused=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to replace a good checkpoint by a broken one."""
        for parameter in self.net.parameters():
            self._check(parameter.detach().sum())

    def _check(self, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise UserError(
                f"the fit broke at epoch {self.current_epoch}, step {self.global_step}: the loss is {float(value)}; "
                f"lower module.learning_rate={self.learning_rate:g} and start in a new run_dir"
            )
