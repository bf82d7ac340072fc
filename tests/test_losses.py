import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lightning_inr.errors import UserError
from lightning_inr.losses import LOSSES, relative_mse, token_loss


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_loss_is_zero_for_equal_frames_and_grows_with_the_error(name: str) -> None:
    target = torch.rand(2, 3, 176, 176)
    noise = torch.randn_like(target)
    values = [float(LOSSES[name]((target + share * noise).clamp(0, 1), target)) for share in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values[0] < values[1] < values[2]


def test_weighted_sums_are_those_of_the_papers() -> None:
    a, b = torch.rand(2, 1, 3, 176, 176)
    part = {name: float(loss(a, b)) for name, loss in LOSSES.items()}
    assert part["l1_ssim"] == pytest.approx(0.7 * part["l1"] + 0.3 * part["ssim"])
    assert part["boost"] == pytest.approx(60 * (0.7 * part["l1"] + 0.3 * part["ms_ssim"]) + part["frequency_l1"])


def test_ms_ssim_is_that_of_torchmetrics_with_its_gradient() -> None:
    target = torch.rand(2, 3, 180, 200)
    noisy = (target + 0.1 * torch.randn_like(target)).clamp(0, 1).requires_grad_()
    expected = 1 - multiscale_structural_similarity_index_measure(noisy, target, data_range=1.0)
    found = LOSSES["ms_ssim"](noisy, target)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)
    of_expected, of_found = (torch.autograd.grad(value, noisy)[0] for value in (expected, found))
    assert torch.allclose(of_found, of_expected, rtol=1e-3, atol=1e-9)


def test_frequency_loss_is_that_of_the_error() -> None:
    a, b = torch.rand(2, 1, 3, 8, 8)
    spectrum = torch.fft.fft2(a - b)
    expected = (spectrum.real.abs().mean() + spectrum.imag.abs().mean()) / 2
    assert float(LOSSES["frequency_l1"](a, b)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_relative_token_mse_does_not_depend_on_scale(scale: float) -> None:
    target = scale * (torch.randn(6, 8) + 3)
    mean = target.mean(0).expand(6, 8)
    assert float(relative_mse(mean, target)) == pytest.approx(1, rel=1e-4)
    assert float(token_loss(target, target, 0.5)) == pytest.approx(0, abs=1e-6)
    turned = float(token_loss(-target, target, 0.5) - relative_mse(-target, target))
    assert turned == pytest.approx(0.5 * 2, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "side"), [("ssim", 10), ("l1_ssim", 10), ("ms_ssim", 160), ("ms_ssim", 175), ("boost", 96)]
)
def test_too_small_frames_are_errors(loss: str, side: int) -> None:
    frames = torch.rand(1, 3, side, 200)
    with pytest.raises(UserError, match=f"frames of 200x{side}: this loss needs sides from .*; choose module.loss="):
        LOSSES[loss](frames, frames)
