"""The base of this project's callbacks, and access to those of a trainer."""

from collections.abc import Sequence
from typing import TypeVar

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_inr.data.module import FrameDataModule
from lightning_inr.training.modules.fit_module import FitModule

C = TypeVar("C", bound=Callback)


class FitCallback(Callback):
    """A callback for a trainer that fits a `FitModule`, which is `module` from the start of the fit on."""

    module: FitModule

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called by the trainer before the fit; TypeError for another LightningModule."""
        if not isinstance(pl_module, FitModule):
            raise TypeError(f"{type(self).__name__} is for fits of a FitModule, not of {type(pl_module).__name__}")
        self.module = pl_module


def all_of(trainer: L.Trainer) -> list[Callback]:
    """All callbacks of the trainer."""
    return trainer.callbacks  # type: ignore[attr-defined]  # set by a connector of Lightning, which mypy cannot follow


def one_of(trainer: L.Trainer, kind: type[C]) -> C:
    """The trainer's first callback of this kind."""
    return next(callback for callback in all_of(trainer) if isinstance(callback, kind))


def data_of(trainer: L.Trainer) -> FrameDataModule:
    """The frames that the trainer fits."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector of Lightning, which mypy cannot follow
    assert isinstance(data, FrameDataModule)
    return data


@torch.no_grad()
def mean_over_ranks(trainer: L.Trainer, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The mean of each tensor over the processes of the fit; the tensors themselves in a fit on one device.

    DDP averages the gradients of the loss alone. What else changes the weights must be made equal on all ranks: they
    drift apart by different random numbers, or by the order of sums on a GPU.
    """
    if trainer.world_size == 1 or not tensors:
        return tensors
    device = trainer.strategy.root_device
    means = trainer.strategy.reduce(torch.cat([each.reshape(-1).to(device) for each in tensors]))
    assert isinstance(means, Tensor)
    parts = means.split([each.numel() for each in tensors])
    return [torch.empty_like(each).copy_(part.view_as(each)) for each, part in zip(tensors, parts, strict=True)]
