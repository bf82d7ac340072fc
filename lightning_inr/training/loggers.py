"""What the loggers need beyond Lightning: W&B without a login, and the final row with its pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image


def wandb_logger(save_dir: str, project: str, name: str | None, group: str | None) -> WandbLogger:
    """Weights & Biases, offline unless the user is logged in; never asks."""
    import wandb

    try:
        online = wandb.login(prompt=False)
    except wandb.errors.UsageError:  # what it says of a missing key, though it was told not to ask
        online = False
    # `mode` as well: W&B has read its environment by now, where Lightning would put the wish to be offline.
    mode = "online" if online else "offline"
    return WandbLogger(name=name, save_dir=save_dir, project=project, group=group, offline=not online, mode=mode)


def log_result(loggers: list[Logger], result: dict[str, Any], pictures: Sequence[Path]) -> None:
    """The figures of a finished fit, as summary where the logger has one, and its pictures."""
    figures = {key: value for key, value in result.items() if isinstance(value, int | float | str)}
    figures |= {f"held_out/{key}": value for key, value in result.get("held_out", {}).items()}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(figures)
            for picture in pictures:
                logger.log_image(picture.stem, [str(picture)])
        else:
            numbers = {key: value for key, value in figures.items() if not isinstance(value, str)}
            logger.log_metrics({f"result/{key}": value for key, value in numbers.items()})
        if isinstance(logger, TensorBoardLogger):
            for picture in pictures:
                pixels = np.asarray(Image.open(picture).convert("RGB"))
                logger.experiment.add_image(picture.stem, pixels, dataformats="HWC")
    finish(loggers)


def finish(loggers: Sequence[Logger]) -> None:
    """Close them: the next job of a sweep would go on with this one's W&B run."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
        logger.finalize("success")
