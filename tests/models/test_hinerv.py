from itertools import pairwise
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.hinerv import HiNeRV, HiNeRVStage
from lightning_inr.nn.convnext import PlainConvNeXtBlock
from lightning_inr.nn.temporal_grid import TemporalGrid
from lightning_inr.types import VideoShape
from tests.conftest import SMALL, small_model
from tests.test_configs import compose

BUNNY = VideoShape(132, 720, 1280, 25.0)
UVG = VideoShape(600, 1080, 1920, 120.0)


@pytest.mark.parametrize(
    ("name", "video", "millions"),
    [("hinerv_xxs", BUNNY, 0.77), ("hinerv_xs", BUNNY, 1.59), ("hinerv", BUNNY, 3.25),
     ("hinerv_s_1080p", UVG, 3.19), ("hinerv_xxl_1080p", UVG, 50.7)],
)  # fmt: skip
def test_the_published_sizes_are_met(name: str, video: VideoShape, millions: float) -> None:
    options: Any = OmegaConf.to_container(compose(f"model={name}").model, resolve=True)
    net = build_on_meta(video=video, **options)
    assert sum(tensor.numel() for tensor in net.state_dict().values()) == pytest.approx(millions * 1e6, rel=0.01)


def test_model_size_changes_in_small_steps_with_channels() -> None:
    options: Any = OmegaConf.to_container(compose("model=hinerv_small").model, resolve=True)
    counts = []
    for step in range(200):
        net = build_on_meta(video=VideoShape(132, 180, 320, 25.0), **{**options, "channels": 105 + step / 10})
        counts.append(sum(tensor.numel() for tensor in net.state_dict().values()))
    assert counts == sorted(counts)
    assert max(after / before for before, after in pairwise(counts)) < 1.02


def test_a_grid_is_linear_between_the_centres_of_its_slices() -> None:
    grid = TemporalGrid(4, 3, 2)
    grid.reset_parameters()
    read = grid(torch.tensor([0.0, 0.125, 0.25, 0.875, 1.0]))
    torch.testing.assert_close(read[0], grid.table[0])
    torch.testing.assert_close(read[1], grid.table[0])
    torch.testing.assert_close(read[2], (grid.table[0] + grid.table[1]) / 2)
    torch.testing.assert_close(read[3:], grid.table[[3, 3]])


def test_slices_correspond_to_training_frames() -> None:
    net = small_model("hinerv", VideoShape(9, 22, 30, 25.0, stride=4))
    assert isinstance(net, HiNeRV)
    stage = net.stages[0]
    assert isinstance(stage, HiNeRVStage)
    grids = [grid for grid in stage.code if isinstance(grid, TemporalGrid)]
    assert [len(grid.table) for grid in grids] == [3, 1, 1]
    before = net(torch.tensor([0.0, 4.0, 8.0]))
    with torch.no_grad():
        grids[0].table[1] += 1  # that of frame 4
    changed = (net(torch.tensor([0.0, 4.0, 8.0])) - before).abs().amax((1, 2, 3)) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_a_stage_interpolates_and_adds_the_same_code_to_every_cell() -> None:
    grid = TemporalGrid(2, 9, 4, spread=1.0)
    stage = HiNeRVStage(5, 5, 5, 3, 1, 3, nn.ModuleList([grid]), torch.relu)
    grid.reset_parameters()
    stage.blocks = nn.Sequential()
    level = torch.randn(2, 5, 1, 1)
    code = stage(level.expand(-1, -1, 4, 6), torch.tensor([0.25, 0.75])) - level
    cells = code.unflatten(2, (4, 3)).unflatten(4, (6, 3))
    torch.testing.assert_close(cells, cells[:, :, :1, :, :1].expand_as(cells))
    torch.testing.assert_close(code[1, :, 0, 2], stage.expand(grid.table[1, 2]))
    assert (code[0] - code[1]).abs().max() > 0.01


def test_a_block_is_residual_where_channels_are_equal() -> None:
    x = torch.randn(1, 4, 5, 6)
    for width in (4, 3):
        block = PlainConvNeXtBlock(4, width, 8, 3)
        nn.init.zeros_(block.narrow.weight)
        torch.testing.assert_close(block(x), x if width == 4 else torch.zeros(1, 3, 5, 6))


@pytest.mark.parametrize(
    ("option", "message"),
    [({"channels": 0}, "channels=0"), ({"depths": [1]}, "depths="), ({"expansions": [1]}, "give one a stride"),
     ({"expansions": [1, "x"]}, "expansions=x"), ({"activation": "relu"}, "activation=relu"),
     ({"kernel": 2}, "kernel=2"), ({"frames_per_slice": 0}, "frames_per_slice=0"),
     ({"code_levels": 9}, "code_levels=9")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("hinerv", VideoShape(4, 22, 30, 25.0), **{**SMALL["hinerv"], **option})
