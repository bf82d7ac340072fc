import torch

from lightning_inr.nn.normalization import AdaptiveNorm


def test_scale_and_shift_of_each_channel_come_from_the_code() -> None:
    norm = AdaptiveNorm(3, 4)
    x, code = 5 + 3 * torch.randn(2, 3, 6, 8), torch.randn(2, 4)
    scale, shift = norm.affine(code).chunk(2, dim=1)
    y = norm(x, code)
    torch.testing.assert_close(y.mean((2, 3)), shift)
    torch.testing.assert_close(y.std((2, 3), correction=0), 1 + scale, atol=1e-3, rtol=1e-3)


def test_a_map_of_one_pixel_passes() -> None:
    norm = AdaptiveNorm(3, 4)
    assert norm(torch.randn(1, 3, 1, 1), torch.randn(1, 4)).isfinite().all()
