"""A picture of a fit while it runs."""

from pathlib import Path

import lightning as L
import torch
from PIL import Image

from lightning_inr.paths import writing
from lightning_inr.training.callbacks.base import FitCallback, one_of
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.previews import evaluating


class PreviewFile(FitCallback):
    """Writes the rendered middle frame as JPEG to `path` every `seconds`."""

    def __init__(self, path: str, seconds: float = 2.0) -> None:
        self.path, self.every, self.last = Path(path), seconds, -seconds

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        """Write the picture if one is due."""
        seconds = one_of(trainer, Budget).seconds
        if seconds < self.last + self.every:
            return
        self.last = seconds
        with evaluating(self.module):
            frame = next(self.module.net.render([self.module.net.video.frames // 2]))
        with writing(self.path) as draft:
            Image.fromarray(frame.permute(1, 2, 0).numpy()).save(draft, "JPEG", quality=85)
