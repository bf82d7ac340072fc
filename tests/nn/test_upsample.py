import pytest
import torch
import torch.nn.functional as F

from lightning_inr.nn.upsample import UpsampleStage, depth_to_space


@pytest.mark.parametrize(("channels", "memory_format"), [(4, torch.channels_last), (3, torch.contiguous_format)])
def test_depth_to_space_is_a_pixel_shuffle_with_channels_in_another_order(
    channels: int, memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, channels * 4, 5, 6).to(memory_format=torch.channels_last)
    reordered = x.unflatten(1, (2, 2, channels)).permute(0, 3, 1, 2, 4, 5).flatten(1, 3)
    shuffled = depth_to_space(x, 2)
    assert torch.equal(shuffled, F.pixel_shuffle(reordered, 2))
    assert shuffled.is_contiguous(memory_format=memory_format)
    assert depth_to_space(x, 1) is x


def test_a_stage_adds_its_grid_before_the_activation() -> None:
    stage = UpsampleStage(4, 3, 2, 3, grid_channels=2, height=10, width=12, activation=torch.relu)
    stage.reset_parameters()
    x = torch.randn(1, 4, 5, 6)
    detail = stage.detail(0, 0, 10, 12)
    assert detail is not None
    expected = torch.relu(depth_to_space(stage.convolution(x), 2) + detail)
    torch.testing.assert_close(stage(x, detail), expected)
    part = stage.detail(2, 3, 4, 5)
    assert part is not None
    torch.testing.assert_close(part, detail[:, :, 2:6, 3:8])


def test_a_stage_without_a_grid() -> None:
    stage = UpsampleStage(4, 3, 2, 1, grid_channels=0, height=10, width=12, activation=torch.relu)
    assert stage.detail(0, 0, 10, 12) is None
    assert [name for name, _ in stage.named_parameters()] == ["convolution.weight", "convolution.bias"]
