"""Fits of several videos in one program, against fits of their own."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from lightning_inr.codec import Codec, decode
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.sources.file import open_source
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.collapse import CollapseGuard
from lightning_inr.training.callbacks.entropy_constrained import EntropyConstrained
from lightning_inr.training.callbacks.pruning import Pruning
from lightning_inr.training.checkpoints import resume_checkpoint
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.training.packed.callbacks import pack_callbacks
from lightning_inr.training.packed.data import PackedDataModule
from lightning_inr.training.packed.module import PackModule
from lightning_inr.training.soap import Soap
from tests.conftest import moving_square, small_model, write_images

CODEC = Codec(default_bits=8)
STEPS = 12


@pytest.fixture
def videos(tmp_path: Path) -> list[FrameDataModule]:
    """Two videos of five frames of 16x24, in batches of all frames: their order does not matter then."""
    square = moving_square(5, 16, 24)
    folders = [write_images(tmp_path / name, frames) for name, frames in (("a", square), ("b", 255 - square.flip(3)))]
    return [FrameDataModule(open_source(str(folder)), batch_size=5) for folder in folders]


def new_fits(videos: list[FrameDataModule], optimizer: str = "adam") -> list[CompressionModule]:
    """A fit of each video, with different initial values."""
    nets = [small_model("latent_inr_grids", video.frames.source.shape).train() for video in videos]
    return [CompressionModule(net, learning_rate=5e-3, latent_learning_rate=5e-3, optimizer=optimizer) for net in nets]


def train(
    module: L.LightningModule, data: L.LightningDataModule, callbacks: list[Callback], begun: Path | None = None
) -> None:
    checkpoints = any(isinstance(each, L.pytorch.callbacks.ModelCheckpoint) for each in callbacks)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=checkpoints, gradient_clip_val=0.05, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=begun, weights_only=True)


def budget(steps: int = STEPS) -> Budget:
    return Budget(max_epochs=None, max_seconds=None, max_steps=steps)


def rate() -> EntropyConstrained:
    return EntropyConstrained(CODEC, 1e-2, start=0.0, step_learning_rate=0.5)


def weights(net: VideoRepresentation) -> Tensor:
    return torch.cat([each.detach().flatten() for each in net.parameters()])


def test_a_pack_trains_each_video_as_a_fit_of_its_own(videos: list[FrameDataModule]) -> None:
    alone = new_fits(videos)
    together, begun = copy.deepcopy(alone), [weights(each.net) for each in alone]
    for fit, video in zip(alone, videos, strict=True):
        train(fit, video, [budget()])
    train(PackModule(together), PackedDataModule(videos), [budget()])
    for one, other, start in zip(alone, together, begun, strict=True):
        moved = (weights(one.net) - start).norm()
        assert moved > 0.1
        assert (weights(one.net) - weights(other.net)).norm() < 0.02 * moved


def test_soap_treats_each_video_by_itself() -> None:
    # On given gradients of all directions: of those that a fit's do not have, rounding alone decides.
    own = [[nn.Parameter(torch.randn(shape)) for shape in ((6, 6), (5,), (7, 4, 2))] for _ in range(3)]
    stacked = [nn.Parameter(torch.stack([each.detach() for each in parts])) for parts in zip(*own, strict=True)]
    kinds: list[dict[str, Any]] = [{"layers": True}, {"layers": True}, {"layers": False, "slices": [(4, 2, 1)]}]

    def soap(weights: list[nn.Parameter], **options: bool) -> Soap:
        groups = [{"params": [each], **kind, **options} for each, kind in zip(weights, kinds, strict=True)]
        return Soap(groups, lr=1e-2)

    optimizers, together = [soap(each) for each in own], soap(stacked, stacked=True)
    for _ in range(12):  # an update of the eigenbases among them
        for whole, parts in zip(stacked, zip(*own, strict=True), strict=True):
            whole.grad = torch.randn_like(whole)
            for part, gradient in zip(parts, whole.grad, strict=True):
                part.grad = gradient.clone()
        for optimizer in (*optimizers, together):
            optimizer.step()
    for whole, parts in zip(stacked, zip(*own, strict=True), strict=True):
        torch.testing.assert_close(whole.detach(), torch.stack([each.detach() for each in parts]))


def test_a_video_that_breaks_does_not_affect_the_others(videos: list[FrameDataModule]) -> None:
    fits = new_fits(videos)
    alone = copy.deepcopy(fits[0])
    train(alone, videos[0], [budget()])
    with torch.no_grad():
        fits[1].net.get_parameter("latents")[0, 0] = float("nan")
    pack = PackModule(fits)
    own = [[budget(), EntropyConstrained(CODEC, 1e-6, start=1.0), CollapseGuard()] for _ in fits]
    train(pack, PackedDataModule(videos), pack_callbacks(own))
    assert list(pack.broken) == [1]
    assert (
        "the fit broke at epoch 0, step 0: the loss is not finite; lower module.learning_rate=0.005" in pack.broken[1]
    )
    torch.testing.assert_close(weights(fits[0].net), weights(alone.net), rtol=0, atol=2e-3)


def test_a_pack_with_the_rate_in_its_loss_gives_files_of_the_usual_size(videos: list[FrameDataModule]) -> None:
    fits = new_fits(videos)
    alone = copy.deepcopy(fits)
    sizes = []
    for fit, video in zip(alone, videos, strict=True):
        constrained = rate()
        train(fit, video, [budget(64), constrained])
        sizes.append(len(CODEC.encode(fit.net, constrained.steps())))
    own = [[budget(64), rate()] for _ in fits]
    train(PackModule(fits), PackedDataModule(videos), pack_callbacks(own))
    for fit, (_, rated), size in zip(fits, own, sizes, strict=True):
        assert isinstance(rated, EntropyConstrained)
        data = CODEC.encode(fit.net, rated.steps())
        assert len(data) == pytest.approx(size, rel=0.05)
        assert len(data) < 0.95 * len(CODEC.encode(fit.net, dict(zip(rated.steps(), rated.origin, strict=True))))
        rendered = next(decode(data).render([2]))
        assert rendered.shape == (3, 16, 24)


def test_a_pack_continues_from_its_checkpoint(videos: list[FrameDataModule], tmp_path: Path) -> None:
    def callbacks(steps: int) -> list[Callback]:
        own = [[budget(steps), EntropyConstrained(CODEC, 1e-3, start=0.2), CollapseGuard()] for _ in videos]
        return [*pack_callbacks(own), resume_checkpoint(str(tmp_path), seconds=0)]

    first = new_fits(videos)
    second, begun = copy.deepcopy(first), [weights(each.net) for each in first]
    train(PackModule(first), PackedDataModule(videos), callbacks(STEPS))
    train(PackModule(second), PackedDataModule(videos), callbacks(STEPS + 5), tmp_path / "last.ckpt")
    for one, other, start in zip(first, second, begun, strict=True):
        moved = (weights(one.net) - start).norm()
        assert 0 < (weights(one.net) - weights(other.net)).norm() < 0.5 * moved


def test_callbacks_for_one_video_at_a_time_are_refused() -> None:
    for callback in (Pruning(0.2), EntropyConstrained(CODEC, 1e-3, bpp=0.2)):
        with pytest.raises(UserError, match=r"pack: .* pack=1"):
            pack_callbacks([[callback], [callback]])
