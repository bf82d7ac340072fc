"""Quality metrics of 8-bit RGB frames: MSE, PSNR, SSIM and MS-SSIM."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

# Halved four times, rounding down, a side must still have the 11 pixels of the window.
MS_SSIM_LEAST_SIDE = 11 * 2**4
SSIM_LEAST_SIDE = 11
PEAK = 255.0


class FrameQuality(NamedTuple):
    """Metrics of one decoded frame against its source frame; None where a side is too small."""

    mse: float  # of 8-bit values, over all three channels
    ssim: float | None
    ms_ssim: float | None


def psnr(mse: Tensor | float, peak: float = 1.0) -> Tensor:
    """PSNR in dB of a mean squared error, for values with maximum `peak`; limited to 100 dB."""
    mse = torch.as_tensor(mse, dtype=torch.float64)
    return (10 * torch.log10(peak**2 / mse.clamp_min(1e-10 * peak**2))).clamp_max(100.0)


def mean_squares(decoded: Tensor, source: Tensor) -> Tensor:
    """Mean squared error of each frame: two tensors (N, 3, H, W) uint8 -> (N,) float64, on the 8-bit scale."""
    # One frame at a time: the float differences of all frames together would take much memory.
    pairs = zip(decoded, source, strict=True)
    return torch.stack([(a.float() - b.float()).square().mean(dtype=torch.float64) for a, b in pairs])


def compare(decoded: Tensor, source: Tensor) -> FrameQuality:
    """Quality of one `decoded` frame against its `source`, both (3, H, W) uint8.

    SSIM and MS-SSIM after Wang et al. (2003, 2004) with an 11-tap Gaussian window;
    None where a side is too small for the window.
    """
    a, b = decoded[None].float(), source[None].float()
    side = min(source.shape[-2:])
    ssim = ms_ssim = None  # torchmetrics' SSIM is typed to return a tuple, too, but does so only on request
    if side >= SSIM_LEAST_SIDE:
        ssim = float(structural_similarity_index_measure(a, b, data_range=PEAK))  # type: ignore[arg-type]
    if side >= MS_SSIM_LEAST_SIDE:
        ms_ssim = float(multiscale_structural_similarity_index_measure(a, b, data_range=PEAK))
    return FrameQuality(float((a - b).square().mean(dtype=torch.float64)), ssim, ms_ssim)


def summarize_quality(frames: list[FrameQuality]) -> dict[str, float | str | None]:
    """Means over the frames of a video: PSNR per frame and PSNR of the mean MSE, in dB, SSIM and MS-SSIM."""
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


def mean_psnr_of_pairs(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean PSNR in dB of pairs of frames (3, H, W) uint8, decoded and true."""
    return fmean(float(psnr(float(mean_squares(decoded[None], true[None])), PEAK)) for decoded, true in pairs)
