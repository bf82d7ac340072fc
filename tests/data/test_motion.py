import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.data.motion import motion_blend, optical_flows
from lightning_inr.metrics import PEAK, psnr


def texture(shift: int, height: int = 72, width: int = 96) -> Tensor:
    """A smooth random picture, (3, height, width) uint8, moved to the right by `shift` pixels."""
    torch.manual_seed(0)
    coarse = torch.rand(1, 3, height // 6, (width + 24) // 6)
    picture = F.interpolate(coarse, (height, width + 24), mode="bicubic").clamp(0, 1) * 255
    return picture[0, :, :, 24 - shift : 24 - shift + width].to(torch.uint8)


def quality(frame: Tensor, true_frame: Tensor) -> float:
    # Without the margin, where pixels enter the frame.
    difference = (frame.float() - true_frame.float())[..., 8:-8, 12:-12]
    return float(psnr(difference.square().mean(), PEAK))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_blend_shows_what_moved_on_its_way(share: float) -> None:
    first, second, between = texture(0), texture(8), texture(round(8 * share))
    blend = motion_blend(first[None], second[None], optical_flows(first, second)[None], torch.tensor([share]))[0]
    assert blend.dtype == torch.uint8
    assert quality(blend, between) > 35
    assert quality(torch.lerp(first.float(), second.float(), share), between) < 25


def test_the_ends_are_the_frames_themselves() -> None:
    pair = torch.stack([texture(0), texture(8)])
    flows = optical_flows(pair[0], pair[1]).expand(2, -1, -1, -1, -1)
    blends = motion_blend(pair[:1].expand(2, -1, -1, -1), pair[1:].expand(2, -1, -1, -1), flows, torch.tensor([0.0, 1]))
    assert (blends.int() - pair.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (8, 100), (31, 40), (33, 47)])
def test_any_size_of_a_frame(size: tuple[int, int]) -> None:
    pair = torch.randint(0, 256, (2, 1, 3, *size), dtype=torch.uint8)
    blend = motion_blend(pair[0], pair[1], optical_flows(pair[0, 0], pair[1, 0])[None], torch.tensor([0.5]))
    assert blend.shape == pair[0].shape
    if min(size) < 32:  # no motion is looked for
        assert (blend.float() - pair.float().mean(0)).abs().max() <= 1
