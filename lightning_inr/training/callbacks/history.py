"""Training curves and the progress bar."""

import time
from typing import Any, NamedTuple

import lightning as L

from lightning_inr.progress import ProgressBar
from lightning_inr.training.callbacks.base import FitCallback, one_of
from lightning_inr.training.callbacks.budget import Budget


class Moment(NamedTuple):
    """One point of the training curves."""

    seconds: float
    epoch: int
    psnr: float  # dB, mean over the training batches since the previous point
    loss: float
    terms: dict[str, float]


class History(FitCallback):
    """Records a point of the training curves every `seconds`, logs it and shows it in a progress bar.

    The points are also stored in the checkpoint. `progress_bar=False` hides the progress bar.
    """

    def __init__(self, seconds: float = 1.0, progress_bar: bool = True) -> None:
        self.every, self.has_progress_bar = seconds, progress_bar
        self.moments: list[Moment] = []
        self.bar = ProgressBar(disable=True)  # placeholder: an exception may close it before `on_train_start`

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        layout = "{desc} |{bar:30}| {percentage:3.0f}%{postfix}"
        self.bar = ProgressBar(
            total=1.0,
            initial=one_of(trainer, Budget).spent,
            desc="fit",
            bar_format=layout,
            disable=not self.has_progress_bar,
        )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        budget = one_of(trainer, Budget)
        due = not self.moments or budget.seconds >= self.moments[-1].seconds + self.every or trainer.should_stop
        if not due or not (means := self.module.pop_metrics()):
            return
        psnr = means.pop("psnr")
        self.moments.append(Moment(budget.seconds, trainer.current_epoch, psnr, sum(means.values()), means))
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        values = {f"train/{name}": value for name, value in means.items()}
        values |= {f"train/{name}": value for name, value in self.module.extra_metrics.items()}
        values |= {"train/psnr": psnr, "train/loss": self.moments[-1].loss, "learning_rate": rate}
        for logger in trainer.loggers:
            logger.log_metrics(values | {"seconds": budget.seconds}, step=trainer.global_step)
        self._show(budget, self.module.extra_metrics)

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
        self.bar.show(text, epoch=moment.epoch, psnr=moment.psnr, seconds_left=round(left, 1), **extra_metrics)
        self.bar.update(budget.spent - self.bar.n)

    def state_dict(self) -> dict[str, Any]:
        return {"moments": [tuple(moment) for moment in self.moments]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.moments = [Moment(*moment) for moment in state_dict["moments"]]
