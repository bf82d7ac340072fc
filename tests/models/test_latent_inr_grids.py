from typing import Any

import pytest
import torch

from lightning_inr.models import build
from lightning_inr.models.latent_inr_grids import LatentINRGrids
from lightning_inr.types import GridLayout, VideoShape
from tests.conftest import SMALL, small_model


def latent_inr_grids(video: VideoShape | None = None, **changes: Any) -> LatentINRGrids:
    options = SMALL["latent_inr_grids"] | changes
    model = build("latent_inr_grids", video or VideoShape(8, 22, 30, 25.0), **options)
    assert isinstance(model, LatentINRGrids)
    return model.eval()


def test_positions_at_a_cut_belong_to_the_nearer_shot() -> None:
    model = small_model("latent_inr_grids", VideoShape(8, 22, 30, 25.0))  # a shot starts at 3
    before, near, after = model(torch.tensor([2.0, 2.4, 3.0])).detach()
    torch.testing.assert_close(near, before)
    assert (before - after).abs().max() > 1e-3
    torch.testing.assert_close(model.latent(torch.tensor([2.6])), model.latent(torch.tensor([3.0])))


def test_initial_frames_have_the_given_colour() -> None:
    colour = torch.tensor([0.2, 0.5, 0.7])
    model = latent_inr_grids()
    model.init_output_colour(colour)
    torch.testing.assert_close(model(torch.arange(8)).mean((0, 2, 3)), colour, atol=0.05, rtol=0)


def test_frames_of_a_new_model_differ_only_through_maps() -> None:
    model = latent_inr_grids(maps=[{"channels": 4, "frames_per_slice": 0}], shots=[0], stages=[
        {"stride": 4, "channels": 3, "kernel": 3, "grid_channels": 2, "frames_per_slice": 0},
    ])  # fmt: skip
    frames = model(torch.arange(8)).detach()
    torch.testing.assert_close(frames, frames[:1].expand_as(frames), atol=1e-5, rtol=0)


def test_grids_over_time_have_their_layout() -> None:
    model = latent_inr_grids()
    assert model.grid_layout("maps.0") == GridLayout((3, 5), 6, 8, 4)
    assert model.grid_layout("grids.1.table") == GridLayout((1, 1), 24, 32, 1)
    assert model.grid_layout("mlp.layers.0.weight") is None
    assert set(model.coded_groups()) == {"latents", "hyper", "grid", "base"}


@pytest.mark.parametrize("position", [0.0, 1.6, 2.5, 7.0])
def test_rendering_reads_only_the_slices_that_it_says(position: float) -> None:
    model, index = latent_inr_grids(), torch.tensor([position])
    expected = model(index)
    for name, slices in model.slices_read(index).items():
        table = model.get_parameter(name).data
        unread = torch.ones(len(table), dtype=torch.bool)
        unread[slices] = False
        table[unread] = torch.nan
    torch.testing.assert_close(model(index), expected, atol=0, rtol=0)


def test_a_long_shot_has_more_slices_than_a_short_one() -> None:
    model = latent_inr_grids(VideoShape(40, 22, 30, 25.0), shots=[0, 10])
    layout = model.grid_layout("grids.0.table")
    assert layout is not None
    assert layout.groups == (5, 15)


@pytest.mark.parametrize("velocity_scale", [None, 0.01])
@pytest.mark.parametrize("motion", ["none", "affine", "field"])
def test_every_kind_of_motion_is_learned(motion: str, velocity_scale: float | None) -> None:
    model = latent_inr_grids(motion=motion, velocity_scale=velocity_scale)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model(torch.arange(8)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (model.motion is None) == (motion == "none")
    assert (model.velocity is None) == (motion == "none" or velocity_scale is None)


def test_a_new_model_is_the_same_with_a_velocity() -> None:
    without, new = (latent_inr_grids(velocity_scale=scale) for scale in (None, 0.01))
    new.load_state_dict(without.state_dict(), strict=False)
    torch.testing.assert_close(new(torch.arange(8)), without(torch.arange(8)), atol=1e-5, rtol=0)


def test_unknown_shots_are_a_single_one() -> None:
    assert latent_inr_grids(shots=None).config.shots == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 17}, "rank=17: choose a whole number from 1 to 16"),
        ({"modulated_layers": [3]}, "modulated_layers=3: choose a whole number from 0 to 2"),
        ({"motion": "optical"}, "motion=optical: choose one of none, affine, field"),
        ({"motion_scale": -1}, "motion_scale=-1: choose a number from 0 to 10"),
        ({"velocity_scale": -1}, "velocity_scale=-1: choose a number from 1e-06 to 10, or null"),
        ({"shots": [3]}, "the first starts at frame 0"),
        ({"shots": [0, -2]}, "shots=-2: choose a whole number"),
        ({"maps": []}, "give 1 to 8 maps"),
        ({"maps": [{"channels": 4}]}, "each needs channels, frames_per_slice"),
        ({"maps": [{"channels": 0, "frames_per_slice": 1}]}, "maps.channels=0: choose a whole number from 1"),
        ({"stages": [{"stride": 2}]}, "each needs channels, frames_per_slice, grid_channels, kernel, stride"),
        ({"stages": SMALL["latent_inr_grids"]["stages"][:1]}, "stages.channels=8: the last has 3"),
        (
            {"stages": [SMALL["latent_inr_grids"]["stages"][0] | {"stride": 64}] * 3},
            "product of stages.stride=262144: choose a whole number from 1 to 65536",
        ),
    ],
)
def test_wrong_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent_inr_grids(**change)
