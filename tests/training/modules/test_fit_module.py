"""The training modules and callbacks, driven by Lightning on a video of 48x64."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_inr.codec import Codec, decode
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.sources.file import open_source
from lightning_inr.errors import UserError
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.training.callbacks.base import one_of
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.history import History
from lightning_inr.training.callbacks.weight_quantization import QuantizationAware
from lightning_inr.training.checkpoints import resume_checkpoint
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.training.modules.fit_module import FitModule
from lightning_inr.training.modules.interpolation import InterpolationModule
from lightning_inr.types import FrameBatch, VideoShape
from tests.conftest import small_model


def fit(
    images: Path, *callbacks: L.Callback, budget: Budget | None = None, module: FitModule | None = None, **data: Any
) -> tuple[FitModule, L.Trainer]:
    frames = FrameDataModule(open_source(str(images)), **data)
    module = module or CompressionModule(
        small_model(video=frames.frames.source.shape), learning_rate=5e-3, latent_learning_rate=5e-3
    )
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(each, L.pytorch.callbacks.ModelCheckpoint) for each in callbacks),
        callbacks=[budget or Budget(max_epochs=30, max_seconds=None), History(0.0), *callbacks],
    )  # fmt: skip
    trainer.fit(module, frames)
    return module, trainer


def test_a_fit_learns_the_video(images: Path) -> None:
    _, trainer = fit(images)
    history = one_of(trainer, History)
    assert history.moments[-1].psnr > history.moments[0].psnr + 5
    assert history.moments[-1].loss == pytest.approx(10 ** (-history.moments[-1].psnr / 10), rel=1e-3)
    assert history.moments[-1].terms == {"mse": history.moments[-1].loss}
    assert trainer.global_step == 30 * 6


def test_windows_train_too(images: Path) -> None:
    _, trainer = fit(images, window=(16, 16))
    history = one_of(trainer, History)
    assert history.moments[-1].loss < history.moments[0].loss


def test_epochs_and_seconds_both_bound_a_fit(images: Path) -> None:
    assert fit(images, budget=Budget(max_epochs=2, max_seconds=60))[1].global_step == 12


def test_seconds_bound_a_fit_at_the_first_step_that_ends_after_them(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100, 200))  # read once at the start and once a step
    monkeypatch.setattr("lightning_inr.training.callbacks.budget.time.monotonic", lambda: float(next(clock)))
    budget = Budget(max_epochs=None, max_seconds=7.5)
    assert fit(images, budget=budget)[1].global_step == 8
    assert budget.seconds == 8


@pytest.mark.parametrize(("epochs", "steps", "taken"), [(None, 7, 7), (2, 20, 12), (5, 9, 9)])
def test_steps_bound_a_fit_whatever_the_epoch(images: Path, epochs: int | None, steps: int, taken: int) -> None:
    budget = Budget(max_epochs=epochs, max_seconds=None, max_steps=steps)
    assert fit(images, budget=budget)[1].global_step == taken
    assert budget.spent == 1
    assert budget.seconds_left == 0


def test_the_share_spent_is_that_of_the_tightest_bound(images: Path) -> None:
    class Shares(L.Callback):
        recorded: ClassVar[list[float]] = []

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            self.recorded.append(budget.spent)

    budget = Budget(max_epochs=100, max_seconds=600, max_steps=8)
    fit(images, Shares(), budget=budget)
    assert Shares.recorded == pytest.approx([step / 8 for step in range(1, 9)])


def test_the_rate_rises_and_falls_to_zero_with_the_budget(images: Path) -> None:
    class Rates(L.Callback):
        def __init__(self) -> None:
            self.recorded: list[list[float]] = []

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            self.recorded.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    rates = Rates()
    frames = FrameDataModule(open_source(str(images)))
    module = CompressionModule(
        small_model(video=frames.frames.source.shape), learning_rate=1e-2, latent_learning_rate=1e-3
    )
    fit(images, rates, module=module, budget=Budget(max_epochs=10, max_seconds=None, warmup=0.1))
    latents, *others = zip(*rates.recorded, strict=True)
    assert max(latents) == pytest.approx(1e-3, rel=0.05)
    assert max(others[0]) == pytest.approx(1e-2, rel=0.05)
    assert others[0][0] < 0.05 * max(others[0])
    assert others[0][-1] < 0.01 * max(others[0])


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 0, "max_seconds": None},
        {"max_epochs": None, "max_seconds": -1},
        {"max_epochs": None, "max_seconds": None, "max_steps": 0},
    ],
)
def test_wrong_budgets_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="choose a number above 0"):
        Budget(**options)
    with pytest.raises(UserError, match="would never end"):
        Budget(None, None)


def psnr_of(model: Any, video: Tensor) -> float:
    mse = torch.stack(
        [(a.float() - b.float()).square().mean() for a, b in zip(model.render(range(6)), video, strict=True)]
    ).mean()
    return float(10 * torch.log10(255**2 / mse))


def test_quantisation_aware_training_improves_the_decoded_quality(images: Path) -> None:
    video = torch.stack([open_source(str(images)).read(index) for index in range(6)])
    codec = Codec(default_bits=3)
    reached = {}
    for name, callbacks in {"plain": [], "aware": [QuantizationAware(codec, start=0.5)]}.items():
        torch.manual_seed(0)
        module, _ = fit(images, *callbacks, budget=Budget(max_epochs=120, max_seconds=None))
        reached[name] = psnr_of(decode(codec.encode(module.net)), video)
    assert reached["aware"] > reached["plain"] + 1


def test_the_optimiser_keeps_full_precision(images: Path) -> None:
    module, _ = fit(images, QuantizationAware(Codec(default_bits=2), start=0.0))
    assert module.net.get_parameter("layers.0.weight").unique().numel() > 4


def test_a_fit_can_be_resumed(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    frames = FrameDataModule(open_source(str(images)))

    class PowerCut(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 100:
                raise RuntimeError("power cut")

    budget = Budget(max_epochs=30, max_seconds=None)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(images, resume_checkpoint(str(folder), seconds=0.0), PowerCut(), budget=budget)
    assert [file.name for file in folder.iterdir()] == ["last.ckpt"]

    resumed, history = Budget(max_epochs=30, max_seconds=None), History(0.0)
    module = CompressionModule(
        small_model(video=frames.frames.source.shape), learning_rate=5e-3, latent_learning_rate=5e-3
    )
    steps: list[int] = []

    class Steps(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            steps.append(trainer.global_step)

    trainer = L.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[resumed, history, Steps(), resume_checkpoint(str(folder), seconds=0.0)],
    )  # fmt: skip
    trainer.fit(module, frames, ckpt_path=folder / "last.ckpt", weights_only=True)
    assert steps[0] == 100
    assert trainer.global_step == 180
    assert len(history.moments) == 180 // 8 + 1
    assert all(a.seconds <= b.seconds for a, b in zip(history.moments, history.moments[1:], strict=False))
    assert resumed.seconds > budget.seconds


class Breaking(CompressionModule):
    """A module whose loss is NaN from step 60 on."""

    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        terms = super().terms(outputs, batch)
        return {"mse": terms["mse"] * (math.nan if self.global_step >= 60 else 1.0)}


def test_a_nan_loss_stops_the_fit_and_keeps_the_checkpoint(images: Path, tmp_path: Path) -> None:
    frames = FrameDataModule(open_source(str(images)))
    module = Breaking(small_model(video=frames.frames.source.shape), learning_rate=5e-3, latent_learning_rate=5e-3)
    with pytest.raises(UserError, match=r"broke at epoch 1\d, step \d+: the loss is nan; lower"):
        fit(images, resume_checkpoint(str(tmp_path), seconds=0.0), module=module)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert 55 <= kept["global_step"] <= 60
    assert all(torch.isfinite(tensor).all() for tensor in kept["state_dict"].values())


@pytest.mark.parametrize(("bound", "expected"), [(10.0, 5.0), (1.0, 1.0), (None, 5.0)])
def test_gradients_are_clipped_above_the_bound(bound: float | None, expected: float) -> None:
    module = CompressionModule(small_model())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    gradient = next(module.parameters()).grad
    assert gradient is not None
    gradient.view(-1)[:2] = torch.tensor([3.0, 4.0])
    module.configure_gradient_clipping(module.configure_optimizers(), bound)
    assert float(gradient.norm()) == pytest.approx(expected, rel=1e-4)


def test_smoothness_moves_latents_towards_the_mean_of_their_neighbours() -> None:
    net = small_model(video=VideoShape(9, 22, 30, 25.0, stride=2))
    assert isinstance(net, LatentINR)
    module = InterpolationModule(net, smoothness=2.0)
    batch = FrameBatch(torch.tensor([4.0]), torch.rand(1, 3, 22, 30))
    terms = module.terms(net.training_outputs(batch.index, batch.frames), batch)
    with torch.no_grad():
        off = net.latents[2] - (net.latents[1] + net.latents[3]) / 2
    assert float(terms["smoothness"]) == pytest.approx(2 * float(off.square().mean()), rel=1e-5)
    terms["smoothness"].backward()
    assert net.latents.grad is not None
    assert net.latents.grad[2].dot(off) > 0
    with pytest.raises(UserError, match=r"module.smoothness=2: NeRV has no latents; choose 0"):
        InterpolationModule(small_model("nerv"), smoothness=2.0)
    with pytest.raises(UserError, match=r"module.smoothness=-1"):
        InterpolationModule(net, smoothness=-1)


def test_errors_before_the_first_step_are_raised_unchanged(images: Path) -> None:
    class Broken(L.Callback):
        def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
            raise UserError("no luck")

    with pytest.raises(UserError, match="no luck"):
        fit(images, Broken())
