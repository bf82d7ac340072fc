"""Fits whose calls are replayed: the CPU has no graphs, and a replay runs the function that was recorded."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_inr import cuda_graphs
from lightning_inr.codec import Codec
from lightning_inr.cuda_graphs import CALLS_BEFORE_CAPTURE, RepeatedCall
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.sources.file import open_source
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.entropy_constrained import RATE_INTERVALS, EntropyConstrained
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.training.packed.callbacks import pack_callbacks
from lightning_inr.training.packed.data import PackedDataModule
from lightning_inr.training.packed.module import PackModule
from tests.conftest import SMALL, moving_square, small_model, write_images

STEPS = 40


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of replays by the name of the call."""
    count: Counter[str] = Counter()

    def replay(call: RepeatedCall[Any], key: object, function: Callable[[], Any]) -> Any:
        count[call.name] += 1
        found = function()
        if call.name != "a training step":
            call._key, call._captured = key, (found, lambda: None)
            return found
        if call._captured is None or key != call._key:
            call._key, call._captured = key, (found, lambda: None)
        _, kept = call._captured[0]  # gradients stay in the same memory
        for to, gradient in zip(kept, found[1], strict=True):
            if to is not None:
                to.copy_(gradient)
        return found[0], kept

    monkeypatch.setattr(RepeatedCall, "replay", replay)
    monkeypatch.setattr(cuda_graphs, "usable", lambda device: True)
    return count


def train(module: L.LightningModule, data: L.LightningDataModule, callbacks: list[L.Callback]) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, gradient_clip_val=1.0, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, data)


def new_fit(data: FrameDataModule, name: str, **options: Any) -> CompressionModule:
    net = small_model(name, data.frames.source.shape).train()
    return CompressionModule(net, learning_rate=5e-3, latent_learning_rate=5e-3, **options)


def callbacks(steps: int, start: float = 0.5) -> list[L.Callback]:
    """A budget, and rate and rounding after the share `start` of it."""
    budget = Budget(max_epochs=None, max_seconds=None, max_steps=steps)
    return [budget, EntropyConstrained(Codec(default_bits=8), 1e-3, start=start)]


def fitted(
    frames: Path, name: str, steps: int = STEPS, batch_size: int = 1, start: float = 0.5, **options: Any
) -> list[Tensor]:
    """The parameters after a fit."""
    torch.manual_seed(0)
    data = FrameDataModule(open_source(str(frames)), batch_size=batch_size)
    module = new_fit(data, name, **options)
    train(module, data, callbacks(steps, start))
    return list(module.net.parameters())


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", SMALL)
def test_a_fit_with_replayed_steps_is_the_same_fit(images: Path, name: str, replays: Counter[str]) -> None:
    expected = fitted(images, name, cuda_graphs=False)
    assert not replays
    assert_equal(fitted(images, name), expected)
    # All steps but those before the captures: one for full-precision and one for rounded weights.
    assert replays["a training step"] == STEPS - 2 * CALLS_BEFORE_CAPTURE


def test_soap_and_the_rate_are_replayed_too(
    images: Path, replays: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = 8
    steps = 3 * CALLS_BEFORE_CAPTURE * RATE_INTERVALS * interval  # every second rate is with tables, a call of its own
    with monkeypatch.context() as without:
        without.setattr(cuda_graphs, "usable", lambda device: False)
        expected = fitted(images, "latent_inr_grids", steps, start=0.0, optimizer="soap")
    assert not replays
    found = fitted(images, "latent_inr_grids", steps, start=0.0, optimizer="soap")
    # Learning rates are float32 in a graph, and differences grow with the steps.
    of_expected, of_found = (torch.cat([each.detach().flatten() for each in fit]) for fit in (expected, found))
    assert 0 < (of_found - of_expected).norm() < 0.3 * of_expected.norm()
    assert set(replays) == {
        "a training step", "a step of SOAP", "a change of the bases of SOAP", "the gradient of the rate"
    }  # fmt: skip


def test_batches_of_another_size_run_without_the_graph(tmp_path: Path, replays: Counter[str]) -> None:
    frames = write_images(tmp_path / "frames", moving_square(23, 16, 24))
    expected = fitted(frames, "latent_inr_grids", batch_size=2, cuda_graphs=False)
    assert_equal(fitted(frames, "latent_inr_grids", batch_size=2), expected)
    # Epochs of eleven pairs and one frame; the second graph, for rounded weights, is made in the second epoch.
    singles = math.ceil(STEPS / 12)
    assert 0 < replays["a training step"] <= STEPS - singles - 2 * CALLS_BEFORE_CAPTURE


def test_random_windows_run_without_a_graph(images: Path, replays: Counter[str]) -> None:
    torch.manual_seed(0)
    data = FrameDataModule(open_source(str(images)), window=(12, 12))
    train(new_fit(data, "latent_inr"), data, callbacks(STEPS))
    assert not replays["a training step"]


def test_a_pack_is_replayed(tmp_path: Path, replays: Counter[str]) -> None:
    square = moving_square(5, 16, 24)
    folders = [write_images(tmp_path / name, each) for name, each in (("a", square), ("b", 255 - square))]

    def trained(**options: Any) -> list[Tensor]:
        torch.manual_seed(0)
        data = [FrameDataModule(open_source(str(folder))) for folder in folders]
        pack = PackModule([new_fit(each, "latent_inr_grids", **options) for each in data])
        train(pack, PackedDataModule(data), pack_callbacks([callbacks(STEPS) for _ in data]))
        return list(pack.stacked)

    expected = trained(cuda_graphs=False)
    assert not replays
    assert_equal(trained(), expected)
    assert replays["a training step"] == STEPS - 2 * CALLS_BEFORE_CAPTURE
