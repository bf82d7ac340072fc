"""Callbacks of a fit: its budget, training curves, progress bar, preview images and checkpoints."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from tqdm import tqdm

from lightning_inr.errors import UserError
from lightning_inr.training.fit import FitModule

CHECKPOINT = "last"
C = TypeVar("C", bound=Callback)


class Budget(Callback):
    """Ends the fit after `max_epochs`, `max_seconds` or `max_steps` optimiser steps, whichever is reached first.

    The learning rate follows the spent share of the budget: it rises linearly over the first `warmup` (a share, 0 to 1)
    and falls to zero along a cosine. A resumed fit continues to count from the seconds spent before the interruption.
    The result of a fit limited in seconds depends on the load of the machine; that of a fit limited in steps or epochs
    does not. `effort_steps` replaces `max_steps` if neither `max_steps` nor `max_epochs` is given.
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

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until the end, at the mean speed so far; infinite before the first step."""
        return self.seconds * (1 - self.spent) / self.spent if self.spent else math.inf

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic() - self.seconds

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
            shares.append(self.seconds / self.max_seconds)
        if self.max_epochs is not None:
            shares.append(trainer.global_step / (self.max_epochs * trainer.num_training_batches))
        if self.max_steps is not None:
            shares.append(trainer.global_step / self.max_steps)
        self.spent = min(1.0, max(shares))
        trainer.should_stop |= self.spent >= 1

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.spent = state_dict["seconds"], state_dict["spent"]


class Moment(NamedTuple):
    """One point of the training curves."""

    seconds: float
    epoch: int
    psnr: float  # dB, mean over the training batches since the previous point
    loss: float
    terms: dict[str, float]


class History(Callback):
    """Records a point of the training curves every `seconds`, logs it and shows it in a progress bar.

    The points are also stored in the checkpoint. `progress_bar=False` hides the progress bar.
    """

    def __init__(self, seconds: float = 1.0, progress_bar: bool = True) -> None:
        self.every, self.shown = seconds, progress_bar
        self.moments: list[Moment] = []
        self.bar = tqdm(disable=True)  # placeholder: an exception may close it before `on_train_start`

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        layout = "{desc} |{bar:30}| {percentage:3.0f}%{postfix}"
        # A terminal is updated at every point, a log file at most every 10 s, as each update adds a line to it.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(
            total=1.0,
            initial=one_of(trainer, Budget).spent,
            desc="fit",
            bar_format=layout,
            mininterval=interval,
            disable=not self.shown,
        )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        budget = one_of(trainer, Budget)
        due = not self.moments or budget.seconds >= self.moments[-1].seconds + self.every or trainer.should_stop
        assert isinstance(pl_module, FitModule)
        if not due or not (means := pl_module.pop_metrics()):
            return
        psnr = means.pop("psnr")
        self.moments.append(Moment(budget.seconds, trainer.current_epoch, psnr, sum(means.values()), means))
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        values = {f"train/{name}": value for name, value in means.items()}
        values |= {f"train/{name}": value for name, value in pl_module.extra_metrics.items()}
        values |= {"train/psnr": psnr, "train/loss": self.moments[-1].loss, "learning_rate": rate}
        for logger in trainer.loggers:
            logger.log_metrics(values | {"seconds": budget.seconds}, step=trainer.global_step)
        self._show(budget, pl_module.extra_metrics)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.bar.close()  # so that the error message starts on a new line

    def _show(self, budget: Budget, extra_metrics: dict[str, float]) -> None:
        left = budget.seconds_left
        clock = time.strftime("%M:%S" if left < 3600 else "%H:%M:%S", time.gmtime(left))
        moment = self.moments[-1]
        extra = "".join(f"  {value:.3f} {name}" for name, value in extra_metrics.items())
        text = f"epoch {moment.epoch}  PSNR {moment.psnr:.2f} dB{extra}  {clock} left"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(budget.spent - self.bar.n)

    def state_dict(self) -> dict[str, Any]:
        return {"moments": [tuple(moment) for moment in self.moments]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.moments = [Moment(*moment) for moment in state_dict["moments"]]


class Previews(Callback):
    """Logs the rendered middle frame to TensorBoard and W&B every `seconds`."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.every, self.last = seconds, 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = one_of(trainer, Budget).seconds
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
        if not boards or (seconds < self.last + self.every and not trainer.should_stop):
            return
        self.last = seconds
        assert isinstance(pl_module, FitModule)
        with evaluating(pl_module):
            frame = next(pl_module.net.render([pl_module.net.video.frames // 2]))
        for board in boards:
            if isinstance(board, TensorBoardLogger):
                board.experiment.add_image("preview", frame, trainer.global_step)
            else:
                board.log_image("preview", [frame.permute(1, 2, 0).numpy()], step=trainer.global_step)


def resume_checkpoint(folder: str, seconds: float = 5.0) -> ModelCheckpoint:
    """A callback that replaces `folder`/last.ckpt every `seconds` of fitting."""
    return ModelCheckpoint(
        folder, CHECKPOINT, train_time_interval=timedelta(seconds=seconds), enable_version_counter=False,
        save_on_train_epoch_end=False,
    )  # fmt: skip


@contextmanager
def evaluating(module: L.LightningModule) -> Iterator[None]:
    """Set `module` to eval mode inside the context, and to training mode after it."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def all_of(trainer: L.Trainer) -> list[Callback]:
    """All callbacks of the trainer."""
    return trainer.callbacks  # type: ignore[attr-defined]  # set by a connector of Lightning, which mypy cannot follow


def one_of(trainer: L.Trainer, kind: type[C]) -> C:
    """The trainer's first callback of this kind."""
    return next(callback for callback in all_of(trainer) if isinstance(callback, kind))
