"""Picture quality, measured on 8-bit RGB frames."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

# Five dyadic scales of an 11-tap window need more than 10 * 2**4 pixels a side.
MS_SSIM_LEAST_SIDE = 161
SSIM_LEAST_SIDE = 11
PEAK = 255.0


class FrameQuality(NamedTuple):
    """One frame's distance from its source."""

    mse: float  # of 8-bit values, over all three channels
    ssim: float | None
    ms_ssim: float | None


def psnr(mse: Tensor | float, peak: float = 1.0) -> Tensor:
    """PSNR in dB of a mean squared error of values whose largest is `peak`; 100 dB at most."""
    mse = torch.as_tensor(mse, dtype=torch.float64)
    return (10 * torch.log10(peak**2 / mse.clamp_min(1e-10 * peak**2))).clamp_max(100.0)


def mean_squares(decoded: Tensor, source: Tensor) -> Tensor:
    """Mean squared error of each frame, (N, 3, H, W) uint8 twice -> (N,) of 8-bit values."""
    # Frame by frame: the difference of many at once would be large.
    pairs = zip(decoded, source, strict=True)
    return torch.stack([(a.float() - b.float()).square().mean(dtype=torch.float64) for a, b in pairs])


def compare(decoded: Tensor, source: Tensor) -> FrameQuality:
    """Quality of one `decoded` frame against its `source`, both (3, H, W) uint8.

    SSIM and MS-SSIM after Wang et al. (2003, 2004) with the usual 11-tap Gaussian;
    None where a side is too small for the window.
    """
    a, b = decoded[None].float(), source[None].float()
    side = min(source.shape[-2:])
    ssim = ms_ssim = None  # torchmetrics' SSIM says it may return two images: only when asked to
    if side >= SSIM_LEAST_SIDE:
        ssim = float(structural_similarity_index_measure(a, b, data_range=PEAK))  # type: ignore[arg-type]
    if side >= MS_SSIM_LEAST_SIDE:
        ms_ssim = float(multiscale_structural_similarity_index_measure(a, b, data_range=PEAK))
    return FrameQuality(float((a - b).square().mean(dtype=torch.float64)), ssim, ms_ssim)


def summarise(frames: list[FrameQuality]) -> dict[str, float | str | None]:
    """Both averages of PSNR in use, and the means of SSIM and MS-SSIM, over a video's frames."""
    mse = torch.tensor([frame.mse for frame in frames], dtype=torch.float64)
    result: dict[str, float | str | None] = {
        "psnr": float(psnr(mse, PEAK).mean()),
        "psnr_mean_mse": float(psnr(mse.mean(), PEAK)),
        "ssim": _mean([frame.ssim for frame in frames]),
        "ms_ssim": _mean([frame.ms_ssim for frame in frames]),
    }
    if result["ms_ssim"] is None:
        result["ms_ssim_reason"] = f"five scales need sides of at least {MS_SSIM_LEAST_SIDE} pixels"
    return result


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
