"""Checkpoints that are complete or absent, even if the process is killed or the disk is full."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_inr.errors import UserError
from lightning_inr.paths import writing

CHECKPOINT = "last"  # the file name without extension


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a draft in the same folder and then renames the draft, so that it is never partial.

    Lightning's own writer uses the folder for temporary files: a move from another file system is a copy, which is
    truncated if the process is killed or the disk is full.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Replace the checkpoint at `path`; UserError if the disk is full, and then the old one stays."""
        with writing(path) as draft:
            torch.save(checkpoint, draft)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote; UserError if the file cannot be read."""
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except Exception as error:  # torch.load raises errors of many types for a damaged archive
            reason = (str(error) or repr(error)).splitlines()[0]
            raise UserError(
                f"{path}: no checkpoint of a fit ({reason}); remove it, and the fit starts again"
            ) from error


def resume_checkpoint(folder: str, seconds: float = 5.0) -> ModelCheckpoint:
    """A callback that replaces `folder`/last.ckpt every `seconds` of fitting."""
    return ModelCheckpoint(
        folder, CHECKPOINT, train_time_interval=timedelta(seconds=seconds), enable_version_counter=False,
        save_on_train_epoch_end=False,
    )  # fmt: skip
