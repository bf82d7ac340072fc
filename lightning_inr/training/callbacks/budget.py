"""The budget of a fit, in epochs, seconds or steps, and the learning rate that follows it."""

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from lightning_inr.errors import UserError


class Budget(Callback):
    """Ends the fit after `max_epochs`, `max_seconds` or `max_steps` optimiser steps, whichever is reached first.

    The learning rate follows the spent share of the budget: it rises linearly over the first `warmup` (a share, 0 to 1)
    and falls to zero along a cosine. A resumed fit continues to count from the seconds spent before the interruption.
    On several devices the seconds are those of rank 0, and an epoch has as many steps as batches for each process. The
    result of a fit limited in seconds depends on the load of the machine; that of a fit limited in steps or epochs does
    not. `effort_steps` replaces `max_steps` if neither `max_steps` nor `max_epochs` is given.
    """

    def __init__(
        self,
        max_epochs: int | None,
        max_seconds: float | None,
        max_steps: int | None = None,
        warmup: float = 0.01,
        effort_steps: int | None = None,
    ) -> None:
        if max_epochs is None and max_steps is None:
            max_steps = effort_steps
        bounds = {"max_epochs": max_epochs, "max_seconds": max_seconds, "max_steps": max_steps}
        for name, value in bounds.items():
            if value is not None and value <= 0:
                raise UserError(f"{name}={value}: choose a number above 0")
        if all(value is None for value in bounds.values()):
            unset = " ".join(f"{name}=null" for name in bounds)
            raise UserError(f"{unset}: the fit would never end; set one of them")
        self.max_epochs, self.max_seconds, self.max_steps, self.warmup = max_epochs, max_seconds, max_steps, warmup
        self.seconds = 0.0  # of fitting so far, over all runs of a resumed fit
        self.spent = 0.0  # share of the budget spent so far, 0 to 1
        self._started = 0.0
        self._steps_per_epoch: int | None = None  # of the fit that is resumed
        self._correction = 0.0  # of the share of `max_epochs`, which is counted in steps of the present epochs

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until the end, at the mean speed so far; infinite before the first step."""
        return self.seconds * (1 - self.spent) / self.spent if self.spent else math.inf

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic() - self.seconds
        steps = int(trainer.num_training_batches)
        if self.max_epochs is not None and self._steps_per_epoch not in (None, steps):  # other devices than before
            assert self._steps_per_epoch is not None
            epochs = trainer.global_step / self._steps_per_epoch - trainer.global_step / steps
            self._correction += epochs / self.max_epochs
        self._steps_per_epoch = steps

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        factor = min(1.0, (self.spent + 1e-3) / self.warmup) * 0.5 * (1 + math.cos(math.pi * self.spent))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = factor * group["base_lr"]

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.seconds = time.monotonic() - self._started
        shares = [0.0]
        if self.max_seconds is not None:
            self.seconds = trainer.strategy.broadcast(
                self.seconds
            )  # or clocks that differ end ranks at different steps
            shares.append(self.seconds / self.max_seconds)
        if self.max_epochs is not None:
            shares.append(trainer.global_step / (self.max_epochs * trainer.num_training_batches) + self._correction)
        if self.max_steps is not None:
            shares.append(trainer.global_step / self.max_steps)
        self.spent = min(1.0, max(shares))
        trainer.should_stop |= self.spent >= 1

    def state_dict(self) -> dict[str, Any]:
        epochs = {"steps_per_epoch": self._steps_per_epoch, "correction": self._correction}
        return {"seconds": self.seconds, "spent": self.spent, **epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.spent = state_dict["seconds"], state_dict["spent"]
        # Absent in checkpoints written before fits on several devices.
        self._steps_per_epoch = state_dict.get("steps_per_epoch")
        self._correction = state_dict.get("correction", 0.0)
