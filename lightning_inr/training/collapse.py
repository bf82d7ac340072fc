"""A fit that collapses, as DNeRV's is known to, is noticed, and its best epoch kept."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_inr.training.fit import FitModule


class CollapseGuard(Callback):
    """If the loss of the last epoch is `factor` times the best epoch's, goes back to that epoch's weights.

    Four times the squared error are 6 dB, more than any rounding costs. What is kept is kept in memory: a resumed
    fit knows the epochs since.
    """

    def __init__(self, factor: float = 4.0) -> None:
        self.factor = factor
        self.best = self.last = math.inf  # mean loss of an epoch
        self.collapsed = False
        self._kept: dict[str, Tensor] = {}
        self._sum, self._steps = torch.zeros(()), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._sum = self._sum.to(pl_module.device) + outputs["loss"].detach()
        self._steps += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        self.last, self._sum, self._steps = float(self._sum) / self._steps, torch.zeros(()), 0
        if self.last < self.best:
            self.best = self.last
            self._kept = {name: tensor.detach().clone() for name, tensor in pl_module.net.state_dict().items()}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        self.collapsed = self.last > self.factor * self.best
        if self.collapsed:
            pl_module.net.load_state_dict(self._kept)
            print(
                f"the fit collapsed: its loss rose from {self.best:.3g} to {self.last:.3g}; kept is its best epoch; "
                f"try another seed, or lower module.learning_rate={pl_module.learning_rate:g}"
            )
