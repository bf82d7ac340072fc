"""Metrics against values computed without the package: by formulas in NumPy, and by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_inr.metrics import MS_SSIM_LEAST_SIDE, SSIM_LEAST_SIDE, compare, mean_squares, psnr

Change = Callable[[torch.Tensor], torch.Tensor]
Image = NDArray[np.float64]  # (H, W) of 8-bit values
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. (2004), section III-B
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. (2003), of the scales from fine to coarse
# `compare` works in float32: variances are differences of numbers of up to 255^2, so off by about 0.01, and C2 is 58.
TOLERANCE = 2e-4


def window_means(image: Image) -> Image:
    """Means weighted by a Gaussian of 11x11 pixels with a deviation of 1.5, around each pixel.

    The image is reflected at its borders, as by torchmetrics; Wang's own code leaves out windows that cross them.
    """
    image = np.pad(image, 5, mode="reflect")
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    return np.einsum("hwij,ij->hw", np.lib.stride_tricks.sliding_window_view(image, (11, 11)), kernel)


def structure_and_luminance(x: Image, y: Image) -> tuple[Image, Image]:
    """Maps of the product of contrast and structure, and of luminance (eqs. 6, 9, 10); their product is SSIM (13)."""
    mean_x, mean_y = window_means(x), window_means(y)
    variance_x = window_means(x * x) - mean_x**2
    variance_y = window_means(y * y) - mean_y**2
    covariance = window_means(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return (2 * covariance + C2) / (variance_x + variance_y + C2), luminance


def inside(values: Image) -> Image:
    """Those of windows that lie inside the image."""
    return values[5:-5, 5:-5]


def halved(image: Image) -> Image:
    height, width = (length // 2 * 2 for length in image.shape)
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def expected_ssim(decoded: torch.Tensor, source: torch.Tensor) -> float:
    pairs = zip(decoded.double().numpy(), source.double().numpy(), strict=True)
    return float(np.mean([np.multiply(*structure_and_luminance(x, y)) for x, y in pairs]))


def expected_ms_ssim(decoded: torch.Tensor, source: torch.Tensor) -> float:
    """Luminance at the last scale alone; the mean over the channels is taken before the power."""
    x, y = decoded.double().numpy(), source.double().numpy()
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        maps = [structure_and_luminance(*pair) for pair in zip(x, y, strict=True)]
        last = scale == len(WEIGHTS) - 1
        means = [(structure * luminance).mean() if last else inside(structure).mean() for structure, luminance in maps]
        product *= float(np.mean(means)) ** weight
        x, y = (np.stack([halved(channel) for channel in frame]) for frame in (x, y))
    return product


def textured(height: int, width: int) -> torch.Tensor:
    """(3, H, W) uint8: waves of another direction in each channel."""
    rows, columns = torch.meshgrid(torch.arange(height) / 7.0, torch.arange(width) / 5.0, indexing="ij")
    waves = torch.stack([torch.sin(rows), torch.cos(columns), torch.sin(rows + columns)])
    return (127 + 80 * waves).to(torch.uint8)


def blurred(frame: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(frame.float(), 15, 1, 7, count_include_pad=False).to(torch.uint8)


def noisy(frame: torch.Tensor) -> torch.Tensor:
    return (frame + 25 * torch.randn(frame.shape)).clamp(0, 255).to(torch.uint8)


def darker(frame: torch.Tensor) -> torch.Tensor:
    return frame // 2


def flat(level: int, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.full((3, height, width), level, dtype=torch.uint8)


@pytest.mark.parametrize("change", [blurred, noisy, darker])
def test_ssim_is_that_of_the_formula(change: Change) -> None:
    source = textured(40, 56)
    decoded = change(source)
    expected = expected_ssim(decoded, source)
    assert 0 < expected < 0.99
    assert compare(decoded, source).ssim == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("size", [(176, 176), (181, 240)])
@pytest.mark.parametrize("change", [blurred, noisy, darker])
def test_ms_ssim_is_that_of_the_formula(change: Change, size: tuple[int, int]) -> None:
    source = textured(*size)
    decoded = change(source)
    expected = expected_ms_ssim(decoded, source)
    assert 0.5 < expected < 0.999
    assert compare(decoded, source).ms_ssim == pytest.approx(expected, abs=TOLERANCE)


def test_identical_frames_have_ssim_one() -> None:
    frame = textured(180, 190)
    assert compare(frame, frame) == pytest.approx((0, 1, 1), abs=1e-6)


@pytest.mark.parametrize(("one", "other"), [(0, 255), (100, 110), (20, 200)])
def test_flat_frames_differ_in_luminance_alone(one: int, other: int) -> None:
    luminance = (2 * one * other + C1) / (one**2 + other**2 + C1)
    assert compare(flat(one), flat(other)).ssim == pytest.approx(luminance, abs=TOLERANCE)
    large = compare(flat(one, 176, 176), flat(other, 176, 176))
    assert large.ms_ssim == pytest.approx(luminance ** WEIGHTS[-1], abs=TOLERANCE)
    assert large.mse == (one - other) ** 2


def test_ssim_of_a_negative_is_negative() -> None:
    frame = textured(40, 56)
    assert compare(255 - frame, frame).ssim == pytest.approx(expected_ssim(255 - frame, frame), abs=TOLERANCE)
    assert expected_ssim(255 - frame, frame) < -0.4


@pytest.mark.parametrize("side", [10, 11, 161, 175, 176])
def test_a_frame_too_small_for_a_metric_has_none(side: int) -> None:
    quality = compare(textured(side, 200), textured(side, 200))
    assert (quality.ssim is None) == (side < SSIM_LEAST_SIDE)
    assert (quality.ms_ssim is None) == (side < MS_SSIM_LEAST_SIDE)


def test_psnr_of_known_errors() -> None:
    assert float(psnr(1.0, 255.0)) == pytest.approx(48.1308, abs=1e-4)  # 20 log10(255)
    assert float(psnr(0.01)) == pytest.approx(20)
    assert float(psnr(0.0)) == 100
    assert mean_squares(torch.stack([flat(10), flat(13)]), torch.stack([flat(10), flat(10)])).tolist() == [0, 9]
