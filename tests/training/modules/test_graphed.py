"""Replayed training steps: on the CPU with a stand-in for the CUDA graph, and as they are where there is a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_inr.codec import Codec
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.sources.file import open_source
from lightning_inr import cuda_graphs
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.entropy_constrained import EntropyConstrained
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.training.modules.graphed import GraphedModule, StepResult
from lightning_inr.training.packed.callbacks import pack_callbacks
from lightning_inr.training.packed.data import PackedDataModule
from lightning_inr.training.packed.module import PackModule
from tests.conftest import SMALL, small_model

Recorded = tuple[StepResult, list[Tensor | None]]
STEPS = 40


def stand_in(function: Callable[[], Recorded]) -> tuple[Recorded, Callable[[], None]]:
    """As `cuda_graphs.record`: the same memory for the result of each replay, which runs `function` once more."""
    result, gradients = function()
    kept = [result.loss, *result.outputs.values(), *gradients]

    def replay() -> None:
        again, new = function()
        for old, value in zip(kept, [again.loss, *again.outputs.values(), *new], strict=True):
            if old is not None and value is not None:
                old.copy_(value)

    for tensor in kept:
        if tensor is not None:
            tensor.fill_(float("nan"))  # a capture alone computes nothing
    return (result, gradients), replay


class Count:
    """Counts the replays of training steps."""

    def __init__(self) -> None:
        self.replays = 0

    def record(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        result, replay = stand_in(function)

        def counted() -> None:
            self.replays += 1
            replay()

        return result, counted


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Count:
    count = Count()
    monkeypatch.setattr(cuda_graphs, "record", count.record)
    monkeypatch.setattr(GraphedModule, "_uses_graphs", property(lambda module: module.cuda_graphs))
    return count


def train(module: L.LightningModule, data: L.LightningDataModule, *callbacks: L.Callback) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, gradient_clip_val=1.0, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, data)


def fitted(images: Path, name: str, cuda_graphs: bool, batch_size: int = 1) -> list[Tensor]:
    """The parameters after a fit with rate and rounding from a quarter of it on."""
    torch.manual_seed(0)
    data = FrameDataModule(open_source(str(images)), batch_size=batch_size)
    net = small_model(name, data.frames.source.shape).train()
    module = CompressionModule(net, learning_rate=5e-3, latent_learning_rate=5e-3, cuda_graphs=cuda_graphs)
    budget = Budget(max_epochs=None, max_seconds=None, max_steps=STEPS)
    train(module, data, budget, EntropyConstrained(Codec(default_bits=8), 1e-3, start=0.5))
    return [parameter.detach().clone() for parameter in module.net.parameters()]


@pytest.mark.parametrize("name", SMALL)
def test_a_fit_with_replayed_steps_is_the_same_fit(images: Path, name: str, graphs: Count) -> None:
    expected = fitted(images, name, cuda_graphs=False)
    assert graphs.replays == 0
    found = fitted(images, name, cuda_graphs=True)
    # All steps but those before the two captures: of full-precision and of rounded weights.
    assert graphs.replays == STEPS - 2 * cuda_graphs.CALLS_BEFORE_CAPTURE
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)


def test_a_smaller_last_batch_runs_without_the_graph(images: Path, graphs: Count) -> None:
    expected = fitted(images, "latent_inr_grids", cuda_graphs=False, batch_size=4)  # of six frames: 4 and 2
    found = fitted(images, "latent_inr_grids", cuda_graphs=True, batch_size=4)
    assert graphs.replays == 0  # a graph needs several equal batches in a row
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
