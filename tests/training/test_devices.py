"""A fit on two devices: two processes on the CPU, joined by gloo."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_inr.codec import Codec
from lightning_inr.data.sources.file import open_source
from lightning_inr.models import MODELS
from lightning_inr.pipelines import fitting, ranks
from lightning_inr.pipelines.fitting import FitOptions, Prepared, prepare_fit, train
from lightning_inr.pipelines.ranks import run_ranks
from lightning_inr.training.callbacks.base import one_of
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.collapse import CollapseGuard
from lightning_inr.training.callbacks.entropy_constrained import EntropyConstrained
from lightning_inr.training.callbacks.history import History
from lightning_inr.training.checkpoints import resume_checkpoint
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.types import FrameBatch
from tests.conftest import SMALL, moving_square, write_images

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(autouse=True)
def _forked_ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that need not import torch again; one thread, since OpenMP's threads are lost in a fork."""
    monkeypatch.setattr(ranks, "START_METHOD", "fork")
    monkeypatch.setattr(fitting, "fast_bfloat16", lambda _: False)  # whose rounding is as large as what is compared
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Taken(Callback):
    """Records the frames and windows of each step."""

    def __init__(self) -> None:
        self.frames: list[list[int]] = []
        self.windows: list[Any] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: FrameBatch, batch_idx: int
    ) -> None:
        self.frames.append(batch.index.int().tolist())
        self.windows.append(batch.window)


class PowerCut(Callback):
    """Ends the fit after a number of steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


def callbacks(budget: Mapping[str, Any], *others: Callback, rate_weight: float | None = None) -> list[Callback]:
    bounds = {"max_epochs": None, "max_seconds": None, **budget}
    rate = [] if rate_weight is None else [EntropyConstrained(Codec(), rate_weight, start=0.4)]
    return [Budget(**bounds), History(0.0, progress_bar=False), *rate, CollapseGuard(), *others]


def eight_steps() -> list[Callback]:
    return callbacks({"max_steps": 8})


def fit(
    images: Path,
    folder: Path,
    devices: int = 2,
    model: str = "latent_inr_grids",
    make_callbacks: Callable[[], list[Callback]] = eight_steps,
    **data: Any,
) -> Prepared:
    """A fit in this process, or as one of two ranks."""
    options = FitOptions(
        model, SMALL[model], Codec(), partial(CompressionModule, learning_rate=3e-3), make_callbacks,
        {"devices": devices, **QUIET}, data, device="cpu",
    )  # fmt: skip
    L.seed_everything(0, verbose=False)
    prepared = prepare_fit(options, open_source(str(images)), folder)
    train(prepared, folder)
    return prepared


def gathered(value: Any) -> list[Any]:
    """The values of both ranks."""
    values = [None, None]
    torch.distributed.all_gather_object(values, value)
    return values


def weights(prepared: Prepared) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in prepared.module.net.named_parameters()}


def test_weights_are_the_same_on_all_ranks_for_every_model_with_the_rate_in_the_loss(
    images: Path, tmp_path: Path
) -> None:
    def differing() -> dict[str, list[str]]:
        found = {}
        for model in MODELS:
            rated = partial(callbacks, {"max_steps": 20}, rate_weight=1e-3)
            prepared = fit(images, tmp_path / model, model=model, make_callbacks=rated)
            mine, other = gathered(weights(prepared))
            rates = gathered(one_of(prepared.trainer, EntropyConstrained).steps())
            found[model] = [name for name in mine if not torch.equal(mine[name], other[name])]
            found[model] += ["steps"] if rates[0] != rates[1] or not rates[0] else []
        return found

    assert run_ranks(2, differing) == {model: [] for model in MODELS}


def test_two_processes_take_the_steps_of_one_with_both_batches(tmp_path: Path) -> None:
    images = write_images(tmp_path / "two", moving_square(2))
    alone = weights(fit(images, tmp_path / "alone", devices=1, batch_size=2))
    together = run_ranks(2, lambda: weights(fit(images, tmp_path / "together")))
    assert all(torch.allclose(alone[name], together[name], atol=1e-4) for name in alone)
    start = weights(fit(images, tmp_path / "start", devices=1, make_callbacks=partial(callbacks, {"max_steps": 1})))
    assert not all(torch.allclose(alone[name], start[name], atol=1e-3) for name in alone)


def test_frames_are_divided_and_windows_differ(images: Path, tmp_path: Path) -> None:
    def run() -> list[Any]:
        taken = Taken()
        fit(images, tmp_path, make_callbacks=lambda: callbacks({"max_epochs": 1}, taken), window=(16, 16))
        return gathered(taken)

    first, second = run_ranks(2, run)
    frames = [number for taken in (first, second) for step in taken.frames for number in step]
    assert sorted(frames) == list(range(6))
    assert len(first.frames) == 3
    assert first.windows != second.windows


def test_more_processes_than_frames_need_windows(tmp_path: Path) -> None:
    images = write_images(tmp_path / "one", moving_square(1))
    assert run_ranks(2, lambda: fit(images, tmp_path, window=(16, 16)).trainer.global_step) == 8
    with pytest.raises(ValueError, match=r"trainer.devices: 2 processes for 1 training frames; choose at most 1, or"):
        run_ranks(2, fit, images, tmp_path)


def test_clocks_that_differ_end_both_ranks_at_the_same_step(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps() -> list[Any]:
        seconds = 10.0 if os.environ["LOCAL_RANK"] == "1" else 1.0  # a step, on this rank's clock
        ticks = itertools.count(step=seconds)
        monkeypatch.setattr("lightning_inr.training.callbacks.budget.time.monotonic", lambda: next(ticks))
        prepared = fit(images, tmp_path, make_callbacks=partial(callbacks, {"max_seconds": 7.5}))
        budget = one_of(prepared.trainer, Budget)
        return gathered((prepared.trainer.global_step, budget.seconds, budget.spent))

    first, second = run_ranks(2, steps)
    assert first == second
    assert first[2] == 1
    assert 7.5 <= first[1] < 10


def test_losses_of_the_curves_are_means_over_ranks(images: Path, tmp_path: Path) -> None:
    def curves() -> list[Any]:
        prepared = fit(images, tmp_path)
        guard = one_of(prepared.trainer, CollapseGuard)
        return gathered(([moment.psnr for moment in one_of(prepared.trainer, History).moments], guard.last))

    first, second = run_ranks(2, curves)
    assert first == second
    assert len(first[0]) == 1


@pytest.mark.parametrize(("before", "after", "taken"), [(2, 1, 4 + 16), (1, 2, 4 + 10)])
def test_a_fit_is_resumed_with_another_number_of_devices(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int, taken: int
) -> None:
    monkeypatch.setattr(fitting, "resume_checkpoint", lambda folder, _: resume_checkpoint(folder, seconds=0.0))

    def run(devices: int, *others: Callback) -> int:
        make = lambda: callbacks({"max_epochs": 4}, *others, rate_weight=1e-3)  # noqa: E731
        call = partial(fit, images, tmp_path, devices=devices, make_callbacks=make)
        steps = lambda: call().trainer.global_step  # noqa: E731
        return run_ranks(2, steps) if devices == 2 else steps()

    with pytest.raises(RuntimeError, match="power cut"):
        run(before, PowerCut(4))
    assert run(after) == taken
