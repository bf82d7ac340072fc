"""Losses of the papers, functions of prediction and target: frames (B, 3, h, w) in [0, 1], or tokens (..., d)."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_inr.errors import UserError
from lightning_inr.metrics import MS_SSIM_LEAST_SIDE

# Exponents of the scales, from the finest: Wang, Simoncelli and Bovik 2003.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error (HNeRV, DNeRV, Latent-INR)."""
    return F.mse_loss(prediction, target)


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(prediction, target)


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM (Wang et al. 2004); UserError for sides below 11 pixels."""
    _check_sides(target, 11, "module.loss=mse")
    value = structural_similarity_index_measure(prediction, target, data_range=1.0)
    assert isinstance(value, Tensor)  # a tuple only if images are requested
    return 1 - value


def ms_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003); UserError for sides below 176 pixels."""
    # From SSIM at each scale: torchmetrics' own MS-SSIM copies its weights to the device in every call, and waits.
    _check_sides(target, MS_SSIM_LEAST_SIDE, "module.loss=l1_ssim")
    product = prediction.new_ones(len(prediction))
    for weight in SCALE_WEIGHTS[:-1]:
        _, contrast = _ssim_of_each(prediction, target)
        product = product * contrast.relu() ** weight
        prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
    similarity, _ = _ssim_of_each(prediction, target)
    return 1 - (product * similarity.relu() ** SCALE_WEIGHTS[-1]).mean()


def _ssim_of_each(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM of each frame, (B,), and its factor of contrast and structure, (B,)."""
    found = structural_similarity_index_measure(
        prediction, target, reduction=None, data_range=1.0, return_contrast_sensitivity=True
    )
    assert isinstance(found, tuple)
    return found


def l1_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """0.7 L1 + 0.3 (1 - SSIM): NeRV, E-NeRV, FFNeRV ("Fusion6")."""
    return 0.7 * l1(prediction, target) + 0.3 * ssim(prediction, target)


def l1_ms_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """0.7 L1 + 0.3 (1 - MS-SSIM): HiNeRV ("Fusion10")."""
    return 0.7 * l1(prediction, target) + 0.3 * ms_ssim(prediction, target)


def frequency_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 of the real and imaginary parts of the frames' Fourier transforms."""
    error = torch.view_as_real(torch.fft.fft2(prediction.float()) - torch.fft.fft2(target.float()))
    return error.abs().mean()


def boost(prediction: Tensor, target: Tensor) -> Tensor:
    """60 (0.7 L1 + 0.3 (1 - MS-SSIM)) + L1 of the frequencies: HNeRV-Boost (CVPR 2024)."""
    return 60 * l1_ms_ssim(prediction, target) + frequency_l1(prediction, target)


def relative_mse(tokens: Tensor, target: Tensor) -> Tensor:
    """MSE of tokens (..., d) divided by the MSE of the target's mean token: 1 is as good as that mean."""
    spread = target - target.flatten(0, -2).mean(0)
    return F.mse_loss(tokens, target) / spread.square().mean().clamp(min=torch.finfo(target.dtype).tiny)


def token_loss(tokens: Tensor, target: Tensor, cosine_weight: float) -> Tensor:
    """L_MSE + cosine_weight * (1 - cosine) of tokens (..., d) (Latent-INR, Eq. 7).

    The MSE is relative to the target's variance: that variance differs a thousandfold between language models, and
    the same weight is used for all of them.
    """
    return relative_mse(tokens, target) + cosine_weight * (1 - F.cosine_similarity(tokens, target, dim=-1).mean())


def _check_sides(frames: Tensor, least: int, remedy: str) -> None:
    height, width = frames.shape[-2:]
    if min(height, width) < least:
        raise UserError(f"frames of {width}x{height}: this loss needs sides from {least} pixels; choose {remedy}")


LOSSES: Mapping[str, Loss] = {
    loss.__name__: loss for loss in (mse, l1, ssim, ms_ssim, l1_ssim, l1_ms_ssim, frequency_l1, boost)
}
