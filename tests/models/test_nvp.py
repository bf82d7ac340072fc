import math
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.nvp import NVP
from lightning_inr.nn.plane_pyramid import PlanePyramid
from lightning_inr.types import VideoShape, Window
from tests.conftest import SMALL, small_model
from tests.test_configs import compose

UVG = VideoShape(600, 1080, 1920, 120.0)


@pytest.mark.parametrize(
    ("name", "planes", "sparse", "networks"), [("nvp", 27.7, 108, 0.11), ("nvp_l", 55.4, 216, 0.154)]
)
def test_the_published_sizes_are_met(name: str, planes: float, sparse: float, networks: float) -> None:
    options: Any = OmegaConf.to_container(compose(f"model={name}").model, resolve=True)
    net = build_on_meta(video=UVG, **options)
    groups = net.coded_groups()
    state = net.state_dict()
    counts = {
        "planes": sum(state[name].numel() for name in groups["grid"] if name != "sparse"),
        "sparse": state["sparse"].numel(),
        "networks": sum(state[name].numel() for name in groups["base"]),
    }
    assert counts == pytest.approx(
        {"planes": planes * 1e6, "sparse": sparse * 1e6, "networks": networks * 1e6}, rel=0.01
    )


def test_a_plane_is_bilinear_on_every_level() -> None:
    plane = PlanePyramid(3, coarsest=3, growth=1.5, features=2)
    assert [tuple(level.shape) for level in plane.levels] == [(2, 3, 3), (2, 5, 5), (2, 7, 7)]
    for level in plane.levels:  # a ramp over rows, and its double over columns
        ramp = torch.linspace(0, 1, level.shape[1])
        level.data = (ramp[:, None] + 2 * ramp).expand_as(level).clone()
    rows, columns = torch.tensor([0.0, 0.3, 1.0]), torch.tensor([0.1, 0.85])
    expected = (rows[:, None] + 2 * columns)[:, :, None].expand(3, 2, 6)
    torch.testing.assert_close(plane(rows, columns), expected)


def test_the_sparse_grid_gives_the_nearest_cell_and_its_neighbours() -> None:
    net = small_model("nvp")
    assert isinstance(net, NVP)
    y, x = torch.tensor([0.0, 0.29, 1.0]), torch.tensor([0.55])  # rows 0, 1 and 5, column 3 of 6
    read = net.neighbourhood(torch.tensor([2.0]), y, x)
    assert read.shape == (1, 3, 1, 18)
    cells = net.sparse[2].unflatten(0, net.cells)
    nine = read[0, 1, 0].unflatten(0, (2, 3, 3))
    torch.testing.assert_close(nine, cells[0:3, 2:5].permute(2, 0, 1))
    torch.testing.assert_close(read[0, 0, 0].unflatten(0, (2, 3, 3))[:, 0], cells[0, 2:5].T)  # the edge repeats
    torch.testing.assert_close(read[0, 2, 0].unflatten(0, (2, 3, 3))[:, 2], cells[5, 2:5].T)


def test_the_sparse_grid_is_linear_between_training_frames() -> None:
    net = small_model("nvp", VideoShape(5, 22, 30, 25.0, stride=2))
    assert isinstance(net, NVP)
    assert len(net.sparse) == 3
    where = torch.rand(4), torch.rand(3)
    before, between, after = net.neighbourhood(torch.tensor([2.0, 2.5, 4.0]), *where)
    torch.testing.assert_close(between, torch.lerp(before, after, 0.25))


def test_a_pixel_does_not_depend_on_the_size_of_the_window_or_on_others() -> None:
    net = small_model("nvp")
    assert net.is_pixelwise
    index = torch.tensor([1.0, 3.3])
    whole = net(index, size=(66, 90))  # its pixel (3i + 1, 3j + 1) lies where (i, j) of 22x30 does
    torch.testing.assert_close(whole[:, :, 1::3, 1::3], net(index), atol=1e-5, rtol=1e-4)
    assert net.prepare(window=Window(2, 3, 4, 5)).plane.shape[:2] == (4, 5)


def test_every_sine_layer_is_multiplied_by_its_modulation() -> None:
    net = small_model("nvp")
    assert isinstance(net, NVP)
    with torch.no_grad():
        net.read.weight.zero_()
        net.read.bias.zero_()
    red, green, blue = torch.sigmoid(net.head.bias)
    frames = net(torch.tensor([0.0, 2.0]))
    for channel, value in enumerate((red, green, blue)):  # nothing but the last bias passes
        torch.testing.assert_close(frames[:, channel], value.expand(2, 22, 30))


def test_the_two_sides_of_the_sparse_grid_grow_in_turn() -> None:
    sides = []
    for channels in (300.0, 300.25, 300.75, 301.0):
        net = build_on_meta("nvp", VideoShape(2, 8, 8, 25.0), channels=channels, levels=1)
        assert isinstance(net, NVP)
        sides.append(math.prod(net.cells))
    assert sides == [300 * 300, 300 * 301, 301 * 301, 301 * 301]


@pytest.mark.parametrize(
    ("option", "message"),
    [({"channels": 0}, "channels=0"), ({"features": 0}, "features=0"), ({"levels": 99}, "levels=99"),
     ({"growth": 0.5}, "growth=0.5"), ({"layers": 0}, "layers=0"), ({"levels": 32, "growth": 4}, "a plane of side")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("nvp", VideoShape(4, 22, 30, 25.0), **{**SMALL["nvp"], **option})
