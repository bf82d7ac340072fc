"""Magnitude pruning with fine-tuning, the first of NeRV's three compression steps (Chen et al. 2021, section 3.3)."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.training.callbacks.base import FitCallback, one_of
from lightning_inr.training.callbacks.budget import Budget

PRUNED_ROLES = ("base", "hyper")  # weights of layers; latents and tables hold the video's content


class Pruning(FitCallback):
    """Sets the smallest `share` of all layers' weights to zero at `start` of the budget, and keeps them zero.

    `share` and `start` are from 0 to below 1. The rest of the fit is the fine-tuning. Zeros are coded as ordinary
    symbols: the bits they save depend on the entropy coder alone.
    """

    def __init__(self, share: float, start: float = 0.6) -> None:
        for name, value in (("share", share), ("start", start)):
            if not 0 <= value < 1:
                raise UserError(f"callbacks.pruning.{name}={value}: choose a number from 0 to below 1")
        self.share, self.start = share, start
        self.kept: list[Tensor] = []  # masks of the weights that are not zero; empty before pruning

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.kept or one_of(trainer, Budget).spent < self.start:
            return
        sizes = torch.cat([weight.detach().abs().flatten() for weight in self._weights()])
        smallest = sizes.kthvalue(max(1, round(self.share * len(sizes)))).values if self.share else sizes.new_tensor(-1)
        self.kept = [weight.detach().abs() > smallest for weight in self._weights()]
        self._zero()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self.kept:
            self._zero()

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept = state_dict["kept"]

    @torch.no_grad()
    def _zero(self) -> None:
        for weight, kept in zip(self._weights(), self.kept, strict=True):
            weight.mul_(kept.to(weight.device))

    def _weights(self) -> list[Tensor]:
        roles = self.module.net.roles()
        return [weight for role in PRUNED_ROLES for weight in roles.get(role, []) if weight.ndim > 1]
