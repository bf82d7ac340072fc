"""Additions to Lightning's loggers: W&B without a login, and the result of a fit with its images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image


def wandb_logger(save_dir: str, project: str, name: str | None, group: str | None) -> WandbLogger:
    """A Weights & Biases logger, offline unless the user is logged in; it never prompts for a key."""
    import wandb

    try:
        online = wandb.login(prompt=False)
    except wandb.errors.UsageError:  # raised for a missing API key in spite of prompt=False
        online = False
    # `mode` as well: Lightning sets offline in the environment, which W&B has already read by now.
    mode = "online" if online else "offline"
    return WandbLogger(name=name, save_dir=save_dir, project=project, group=group, offline=not online, mode=mode)


def log_result(loggers: list[Logger], result: dict[str, Any], pictures: Sequence[Path]) -> None:
    """Log the figures of a finished fit, as a summary if the logger has one, and its images; then close the loggers."""
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
    """Close the loggers; otherwise the next job of a sweep would continue this job's W&B run."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
        logger.finalize("success")
