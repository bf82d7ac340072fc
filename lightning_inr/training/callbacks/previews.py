"""Images of the middle frame during a fit."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from lightning_inr.training.callbacks.base import FitCallback, one_of
from lightning_inr.training.callbacks.budget import Budget


class Previews(FitCallback):
    """Logs the rendered middle frame to TensorBoard and W&B every `seconds`."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.every, self.last = seconds, 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = one_of(trainer, Budget).seconds
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
        if not boards or (seconds < self.last + self.every and not trainer.should_stop):
            return
        self.last = seconds
        with evaluating(self.module):
            frame = next(self.module.net.render([self.module.net.video.frames // 2]))
        for board in boards:
            if isinstance(board, TensorBoardLogger):
                board.experiment.add_image("preview", frame, trainer.global_step)
            else:
                board.log_image("preview", [frame.permute(1, 2, 0).numpy()], step=trainer.global_step)


@contextmanager
def evaluating(module: L.LightningModule) -> Iterator[None]:
    """Set `module` to eval mode inside the context, and to training mode after it."""
    module.eval()
    try:
        yield
    finally:
        module.train()
