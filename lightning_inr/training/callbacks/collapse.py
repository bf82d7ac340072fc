"""Detects a fit that collapses, which happens with DNeRV, and restores the weights of its best epoch."""

from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_inr.training.callbacks.base import FitCallback, all_of
from lightning_inr.training.callbacks.weight_quantization import WeightQuantization


class Reached(NamedTuple):
    """Loss and bitrate of an epoch."""

    loss: float  # mean over the steps of the epoch
    bpp: float  # bits per pixel of the file at the last estimate; 0 while the loss has no rate term

    def objective(self, rate_weight: float) -> float:
        """The value that the fit minimises: loss + rate_weight * bpp."""
        return self.loss + rate_weight * self.bpp


class CollapseGuard(FitCallback):
    """Restores the weights of the best epoch if the last epoch's objective is over `factor` times that of the best.

    A factor of 4 in squared error is 6 dB, more than any rounding costs. With a rate term, the error may rise while
    the rate falls: the objective therefore includes both, and epochs before rounding starts are not compared with
    epochs after it. The best weights are held in memory only: a resumed fit compares the epochs since its resumption.
    """

    def __init__(self, factor: float = 4.0) -> None:
        self.factor = factor
        self.best: Reached | None = None
        self.last: Reached | None = None
        self.collapsed = False
        self._kept: dict[str, Tensor] = {}
        self._sum, self._steps = torch.zeros(()), 0
        self._rounded = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.add(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sum = trainer.strategy.reduce(self._sum)  # the mean over ranks: all restore their weights, or none
        self.end_epoch(*price_of_bits(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _, rate_weight = price_of_bits(trainer)
        self.restore(rate_weight)

    def add(self, loss: Tensor) -> None:
        """Add the loss of a step to the sum of its epoch."""
        self._sum = self._sum.to(loss.device) + loss
        self._steps += 1

    def end_epoch(self, rounded: bool, rate_weight: float) -> None:
        """Keep the weights if the epoch is the best one; arguments as `price_of_bits` returns them."""
        self.last = Reached(float(self._sum) / self._steps, self.module.extra_metrics["bpp"] if rate_weight else 0.0)
        self._sum, self._steps = torch.zeros(()), 0
        if rounded != self._rounded:
            self.best, self._rounded = None, rounded
        if self.best is None or self.last.objective(rate_weight) < self.best.objective(rate_weight):
            self.best = self.last
            self._kept = {name: tensor.detach().clone() for name, tensor in self.module.net.state_dict().items()}

    def restore(self, rate_weight: float) -> None:
        """Restore the weights of the best epoch, with a message, if the fit has collapsed."""
        if self.best is None or self.last is None:
            return
        best, last = self.best.objective(rate_weight), self.last.objective(rate_weight)
        self.collapsed = last > self.factor * best
        if self.collapsed:
            self.module.net.load_state_dict(self._kept)
            rank_zero_only(print)(
                f"the fit collapsed: its loss rose from {best:.3g} to {last:.3g}; its best epoch is used; "
                f"try another seed, or lower module.learning_rate={self.module.learning_rate:g}"
            )


def price_of_bits(trainer: L.Trainer) -> tuple[bool, float]:
    """Whether training uses rounded weights already, and the weight of the bits per pixel in the loss."""
    started = [each for each in all_of(trainer) if isinstance(each, WeightQuantization) and each.started]
    return bool(started), sum(each.rate_weight for each in started)
