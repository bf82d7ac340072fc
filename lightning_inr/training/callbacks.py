"""What happens around a fit: its budget, quantisation, what is kept of it and what is shown."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor, nn
from tqdm import tqdm

from lightning_inr.codec import Codec, Entry, fake_quantize
from lightning_inr.errors import UserError
from lightning_inr.training.fit import FitModule

CHECKPOINT = "last"
STEPS_BETWEEN_ROUNDINGS = 4
SECONDS_BETWEEN_LINES = 0.5 if sys.stderr.isatty() else 10.0  # a log file needs fewer
C = TypeVar("C", bound=Callback)


class Budget(Callback):
    """Ends the fit after `max_epochs` or `max_seconds`, whichever is first, and bends the learning rate to it.

    The rate rises over the first `warmup` of the budget and falls to zero on a cosine. Seconds of an
    interrupted fit count on when it is resumed.
    """

    def __init__(self, max_epochs: int | None, max_seconds: float | None, warmup: float = 0.01) -> None:
        for name, value in (("max_epochs", max_epochs), ("max_seconds", max_seconds)):
            if value is not None and value <= 0:
                raise UserError(f"{name}={value}: choose a number above 0")
        if max_epochs is None and max_seconds is None:
            raise UserError("max_epochs=null max_seconds=null: the fit would never end; set one of them")
        self.max_epochs, self.max_seconds, self.warmup = max_epochs, max_seconds, warmup
        self.seconds = 0.0  # spent fitting, over all runs
        self._resumed_at = 0.0
        self._seconds_before = 0.0

    def progress(self, trainer: L.Trainer) -> float:
        """How much of the budget is spent, from 0 to 1."""
        self.seconds = self._seconds_before + time.monotonic() - self._resumed_at
        spent = 0.0 if self.max_seconds is None else self.seconds / self.max_seconds
        if self.max_epochs is not None:
            spent = max(spent, trainer.global_step / (self.max_epochs * trainer.num_training_batches))
        return min(1.0, spent)

    def time_left(self, trainer: L.Trainer) -> float:
        """Seconds until the end, at the pace so far."""
        progress = self.progress(trainer)
        return self.seconds * (1 - progress) / progress if progress else math.inf

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._resumed_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        progress = self.progress(trainer)
        factor = min(1.0, (progress + 1e-3) / self.warmup) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = factor * group["base_lr"]

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop |= self.progress(trainer) >= 1

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]


class QuantizationAware(Callback):
    """From `start` of the budget on, forward and backward see the weights a decoder will see.

    The optimiser moves the full-precision weights with that gradient (straight-through, Bengio et al. 2013).
    What rounding does to each weight is computed anew every few steps: it changes little in between, and
    as the learning rate falls to zero it becomes exact.
    """

    def __init__(self, codec: Codec, start: float = 0.7) -> None:
        if not 0 <= start <= 1:
            raise UserError(f"callbacks.quantization_aware.start={start}: choose a share of the budget, 0 to 1")
        self.codec, self.start = codec, start
        self._coded: list[tuple[nn.Parameter, Entry]] = []
        self._errors: list[Tensor] = []
        self._kept: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        parameters = dict(pl_module.net.named_parameters())
        entries = [entry for entry in self.codec.plan(pl_module.net) if entry.quantized and entry.name in parameters]
        self._coded = [(parameters[entry.name], entry) for entry in entries]

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if budget_of(trainer).progress(trainer) < self.start:
            return
        if not self._errors or trainer.global_step % STEPS_BETWEEN_ROUNDINGS == 0:
            self._errors = [fake_quantize(weight, entry.bits, entry.axis).sub_(weight) for weight, entry in self._coded]
        for (weight, _), error in zip(self._coded, self._errors, strict=True):
            self._kept.append(weight.data)
            weight.data = weight.data + error

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for (weight, _), full in zip(self._coded, self._kept, strict=False):
            weight.data = full
        self._kept.clear()


class Moment(NamedTuple):
    """One point of the training curves."""

    seconds: float
    epoch: int
    psnr: float  # dB, mean over the frames since the point before, as training saw them
    loss: float
    terms: dict[str, float]


class History(Callback):
    """Keeps the curves, in the checkpoint too, and sends them to the logger every `seconds`."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.every = seconds
        self.moments: list[Moment] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        seconds = budget_of(trainer).seconds
        due = not self.moments or seconds >= self.moments[-1].seconds + self.every or trainer.should_stop
        assert isinstance(pl_module, FitModule)
        if not due or not (means := pl_module.take_means()):
            return
        psnr = means.pop("psnr")
        self.moments.append(Moment(seconds, trainer.current_epoch, psnr, sum(means.values()), means))
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        values = {"train/psnr": psnr, "train/loss": self.moments[-1].loss, "learning_rate": rate, "seconds": seconds}
        values |= {f"train/{name}": value for name, value in means.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"moments": [tuple(moment) for moment in self.moments]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.moments = [Moment(*moment) for moment in state_dict["moments"]]


class Progress(Callback):
    """One line: epoch, PSNR, time left."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        layout = "{desc} |{bar:30}| {percentage:3.0f}%{postfix}"
        self.bar = tqdm(total=1.0, desc="fit", bar_format=layout)
        self.shown = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        budget, history = budget_of(trainer), one_of(trainer, History)
        if not history.moments or (budget.seconds < self.shown + SECONDS_BETWEEN_LINES and not trainer.should_stop):
            return
        self.shown, left = budget.seconds, budget.time_left(trainer)
        clock = time.strftime("%M:%S" if left < 3600 else "%H:%M:%S", time.gmtime(left))
        note = f"epoch {trainer.current_epoch}  PSNR {history.moments[-1].psnr:.2f} dB  {clock} left"
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(budget.progress(trainer) - self.bar.n)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.close()


class Previews(Callback):
    """Sends the middle frame to the loggers that show pictures, every `seconds`."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.every, self.last = seconds, 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = budget_of(trainer).seconds
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
    """Keeps `folder`/last.ckpt no older than `seconds` of work, replaced in one step."""
    return ModelCheckpoint(
        folder, CHECKPOINT, train_time_interval=timedelta(seconds=seconds), enable_version_counter=False,
        save_on_train_epoch_end=False,
    )  # fmt: skip


@contextmanager
def evaluating(module: L.LightningModule) -> Iterator[None]:
    """Eval mode inside, training mode after."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def budget_of(trainer: L.Trainer) -> Budget:
    """The trainer's budget."""
    return one_of(trainer, Budget)


def one_of(trainer: L.Trainer, kind: type[C]) -> C:
    """The trainer's callback of this kind."""
    found = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it from afar
    return next(callback for callback in found if isinstance(callback, kind))
