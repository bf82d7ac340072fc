"""What every fit has in common: a view of the batch, named loss terms, an optimiser by roles."""

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
        # Of the steps since `take_means`: summed on the device, read seldom.
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

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
        loss = sum(terms.values(), start=torch.zeros((), device=prediction.device))
        with torch.no_grad():
            batch_psnr = psnr(F.mse_loss(prediction, target))
            self._add({name: term.detach() for name, term in terms.items()} | {"psnr": batch_psnr})
        if self.global_step % STEPS_BETWEEN_CHECKS == 0:
            self._check(loss)
        return loss

    def take_means(self) -> dict[str, float]:
        """Means of every term and of PSNR since the last call; empty if no step was taken."""
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means

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

    def _add(self, values: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _check(self, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise UserError(
                f"the fit broke at epoch {self.current_epoch}, step {self.global_step}: the loss is {float(value)}; "
                f"lower module.learning_rate={self.learning_rate:g} and start in a new run_dir"
            )
