"""A fit that collapses, as DNeRV's is known to, is noticed, and its best epoch kept."""

from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_inr.training.callbacks import all_of
from lightning_inr.training.fit import FitModule
from lightning_inr.training.rounding import WeightQuantization


class Reached(NamedTuple):
    """What an epoch reached."""

    loss: float  # mean over its steps
    bpp: float  # of the file, as last estimated; 0 while bits cost nothing

    def objective(self, rate_weight: float) -> float:
        """What the fit minimises."""
        return self.loss + rate_weight * self.bpp


class CollapseGuard(Callback):
    """If the last epoch's objective is `factor` times the best epoch's, goes back to that epoch's weights.

    Four times the squared error are 6 dB, more than any rounding costs. Where bits have a price, the error may rise
    as they fall: the objective counts both, and epochs before weights were rounded are not compared with those after.
    What is kept is kept in memory: a resumed fit knows the epochs since.
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
        self._sum = self._sum.to(pl_module.device) + outputs["loss"].detach()
        self._steps += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        rounded, rate_weight = _price_of_bits(trainer)
        self.last = Reached(float(self._sum) / self._steps, pl_module.extra_metrics["bpp"] if rate_weight else 0.0)
        self._sum, self._steps = torch.zeros(()), 0
        if rounded != self._rounded:
            self.best, self._rounded = None, rounded
        if self.best is None or self.last.objective(rate_weight) < self.best.objective(rate_weight):
            self.best = self.last
            self._kept = {name: tensor.detach().clone() for name, tensor in pl_module.net.state_dict().items()}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        if self.best is None or self.last is None:
            return
        _, rate_weight = _price_of_bits(trainer)
        best, last = self.best.objective(rate_weight), self.last.objective(rate_weight)
        self.collapsed = last > self.factor * best
        if self.collapsed:
            pl_module.net.load_state_dict(self._kept)
            print(
                f"the fit collapsed: its loss rose from {best:.3g} to {last:.3g}; kept is its best epoch; "
                f"try another seed, or lower module.learning_rate={pl_module.learning_rate:g}"
            )


def _price_of_bits(trainer: L.Trainer) -> tuple[bool, float]:
    """Whether weights are rounded by now, and the weight in the loss of a bit a pixel."""
    begun = [each for each in all_of(trainer) if isinstance(each, WeightQuantization) and each.begun]
    return bool(begun), sum(each.rate_weight for each in begun)
