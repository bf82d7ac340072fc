"""Checkpoints that are whole or not there, whatever stops the writing."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lightning_inr.errors import UserError
from lightning_inr.paths import writing


class WholeCheckpoints(TorchCheckpointIO):
    """Written beside the one that they replace, in one step.

    Lightning's own go by way of the folder for temporary files: from another file system a move is a copy, which a
    kill or a full disk cuts.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Replace the checkpoint at `path`; UserError if there is no room, and the old one stays."""
        with writing(path) as draft:
            torch.save(checkpoint, draft)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What `save_checkpoint` wrote; UserError if it cannot be read."""
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except Exception as error:  # a damaged archive ends in errors of many types
            reason = (str(error) or repr(error)).splitlines()[0]
            raise UserError(f"{path}: no checkpoint of a fit ({reason}); remove it, and the fit begins anew") from error
