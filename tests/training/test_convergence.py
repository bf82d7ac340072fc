"""Fits that have not converged are reported with figures and a remedy."""

from pathlib import Path

import pytest
import torch

from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.sources.file import open_source
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.convergence import why_unconverged
from lightning_inr.training.modules.alignment import AlignmentModule
from lightning_inr.training.modules.compression import CompressionModule
from lightning_inr.training.modules.fit_module import FitModule
from lightning_inr.types import EmbeddingSpace, VideoShape
from tests.conftest import moving_square, small_model, write_images
from tests.training.modules.test_fit_module import fit


def unconverged_reason(module: FitModule, images: Path, embeddings: torch.Tensor | None = None) -> str | None:
    data = FrameDataModule(open_source(str(images)))
    module.net.store_embeddings(data.in_order())
    return why_unconverged(module, data, embeddings, "5 steps in 1 s")


def aligned(video: VideoShape, weight: float) -> tuple[AlignmentModule, torch.Tensor]:
    """A module whose latents equal the given teacher embeddings."""
    net = small_model(video=video)
    assert isinstance(net, LatentINR)
    net.align(EmbeddingSpace("clip", "0", net.latents.shape[1]))
    return AlignmentModule(net, alignment_weight=weight), net.latents.detach().clone()


def test_a_fit_that_learns_has_converged(images: Path) -> None:
    module, _ = fit(images)
    assert unconverged_reason(module, images) is None


@pytest.mark.parametrize("name", ["latent_inr", "hnerv"])
def test_a_fit_without_progress_is_unconverged(images: Path, name: str) -> None:
    net = small_model(name, video=open_source(str(images)).shape)
    module, _ = fit(images, module=CompressionModule(net, learning_rate=1e-9), budget=Budget(1, None))
    reason = unconverged_reason(module, images)
    assert reason is not None
    assert "dB after 5 steps in 1 s, where the mean colour alone gives" in reason
    assert "lower module.learning_rate=1e-09, or try another seed" in reason


def test_a_flat_video_is_not_checked(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "flat", torch.full((3, 3, 22, 30), 90, dtype=torch.uint8))
    data = FrameDataModule(open_source(str(folder)))
    net = small_model(video=data.frames.source.shape)
    module, _ = fit(folder, module=CompressionModule(net, learning_rate=1e-9), budget=Budget(1, None))
    assert unconverged_reason(module, folder) is None


def test_latents_far_from_the_teacher_are_unconverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path / "clip", moving_square())
    module, embeddings = aligned(open_source(str(folder)).shape, 0.01)
    monkeypatch.setattr("lightning_inr.training.convergence.LEAST_GAIN", -100.0)  # its frames are not what is tested
    assert unconverged_reason(module, folder, embeddings) is None
    reason = unconverged_reason(module, folder, -embeddings)
    assert reason is not None
    assert "mean cosine -1.00 of latents to the teacher embeddings after 5 steps in 1 s, below 0.8" in reason
    assert "raise module.alignment_weight=0.01" in reason
    module.alignment_weight = 0.0
    assert unconverged_reason(module, folder, -embeddings) is None
