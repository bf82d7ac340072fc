from collections.abc import Mapping
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_inr.data.sources.file import open_source
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.collapse import CollapseGuard
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.types import FrameBatch
from tests.conftest import small_model
from tests.training.modules.test_fit_module import fit, psnr_of


class Collapsing(L.Callback):
    """Replaces the weights by noise at epoch 20."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 20:
            with torch.no_grad():
                for parameter in pl_module.parameters():
                    parameter.normal_(std=3)


class Still(CompressionModule):
    """A loss with zero gradients from epoch 20 on."""

    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        terms = super().terms(outputs, batch)
        return {"mse": terms["mse"] if self.current_epoch < 20 else terms["mse"].detach() + 0 * terms["mse"]}


def test_the_best_epoch_is_restored_and_reported(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_source(str(images))
    guard = CollapseGuard()
    module, _ = fit(images, Collapsing(), guard, module=Still(small_model(video=source.shape), learning_rate=5e-3))
    assert guard.collapsed
    assert "the fit collapsed: its loss rose from" in capsys.readouterr().out
    assert psnr_of(module.net, torch.stack([source.read(index) for index in range(6)])) > 14


def test_a_normal_fit_is_not_changed(images: Path) -> None:
    guard = CollapseGuard()
    fit(images, guard, budget=Budget(max_epochs=5, max_seconds=None))
    assert not guard.collapsed
    assert guard.best == guard.last
