"""What the papers compare frames with: pure functions of prediction and target (B, 3, h, w) in [0, 1]."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error (HNeRV, DNeRV, Latent-INR)."""
    return F.mse_loss(prediction, target)


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(prediction, target)


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM (Wang et al. 2004); sides of at least 11 pixels."""
    value = structural_similarity_index_measure(prediction, target, data_range=1.0)
    assert isinstance(value, Tensor)  # no images are asked for
    return 1 - value


def ms_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003); sides of at least 161 pixels."""
    return 1 - multiscale_structural_similarity_index_measure(prediction, target, data_range=1.0)


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


LOSSES: Mapping[str, Loss] = {
    loss.__name__: loss for loss in (mse, l1, ssim, ms_ssim, l1_ssim, l1_ms_ssim, frequency_l1, boost)
}
