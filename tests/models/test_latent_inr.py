from typing import Any

import pytest
import torch

from lightning_inr.models import build
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.nn.hypernetwork import Hypernetwork
from lightning_inr.types import VideoShape, Window
from tests.conftest import SMALL, small_model

PIXELWISE: dict[str, Any] = {
    "stages": [{"stride": 1, "channels": 3, "kernel": 1, "grid_channels": 0}],
    "encoding": {"kind": "hash", "levels": 3, "coarsest": 4, "finest": 16, "log2_entries": 8},
}


def latent_inr(video: VideoShape | None = None, **changes: Any) -> LatentINR:
    model = build("latent_inr", video or VideoShape(5, 22, 30, 25.0), **(SMALL["latent_inr"] | changes))
    assert isinstance(model, LatentINR)
    return model.eval()


def test_latents_are_linear_between_frames_and_constant_beyond() -> None:
    model = latent_inr()
    at = model.latent(torch.tensor([1.0, 1.25, 2.0, 9.0, -3.0]))
    torch.testing.assert_close(at[0], model.latents[1])
    torch.testing.assert_close(at[1], 0.75 * model.latents[1] + 0.25 * model.latents[2])
    torch.testing.assert_close(at[3], model.latents[4])
    torch.testing.assert_close(at[4], model.latents[0])


def test_modulation_has_the_shape_and_rank_of_the_paper() -> None:
    model = latent_inr(modulated_layers=[0, 2], rank=2, modulation="one_plus")
    with torch.no_grad():
        for network in model.hypernetworks.values():
            assert isinstance(network, Hypernetwork)
            network.factors.weight.normal_()
    modulation = model.modulation(model.latent(torch.tensor([0.0, 3.0])))
    assert set(modulation) == {0, 2}
    assert modulation[0].shape == (2, 16, 6)
    assert modulation[2].shape == (2, 16, 16)
    assert torch.linalg.matrix_rank(modulation[2][0] - 1, rtol=1e-4) == 2


@pytest.mark.parametrize("sigma", ["sigmoid", "tanh", "one_plus"])
def test_a_new_model_renders_as_an_unmodulated_one(sigma: str) -> None:
    model = latent_inr(modulation=sigma)
    frames = model(torch.arange(5))
    torch.testing.assert_close(frames, frames[:1].expand_as(frames), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", [[0], [1, 2], 2])
def test_any_layers_can_be_modulated(layers: Any) -> None:
    model = latent_inr(modulated_layers=layers)
    assert model(torch.tensor([0.0])).shape == (1, 3, 22, 30)
    assert [int(name) for name in model.hypernetworks] == ([2] if layers == 2 else layers)


def test_initial_latents_are_smooth_or_small() -> None:
    video = VideoShape(100, 8, 8, 25.0)
    smooth = latent_inr(video, latent_start="smooth", latent_cycles=4.0).latents
    normal = latent_inr(video, latent_start="normal", latent_scale=0.01).latents
    steps = (smooth[1:] - smooth[:-1]).norm(dim=1)
    assert steps.max() < 0.5 * smooth.norm(dim=1).min()
    assert 0.008 < normal.std() < 0.012


def test_a_pixelwise_network_renders_any_size() -> None:
    model = latent_inr(**PIXELWISE)
    assert model.is_pixelwise
    coarse = model(torch.tensor([2.0]), size=(11, 15))
    fine = model(torch.tensor([2.0]), size=(33, 45))
    # The centre of a coarse pixel is the centre of the middle one of three fine pixels.
    torch.testing.assert_close(fine[:, :, 1::3, 1::3], coarse, atol=1e-5, rtol=1e-4)


def test_one_latent_per_training_frame_linear_between_them() -> None:
    model = latent_inr(VideoShape(9, 22, 30, 25.0, stride=4))
    assert len(model.latents) == 3
    with torch.no_grad():
        first, between, last = model.latent(torch.tensor([4.0, 5.0, 8.0]))
    assert torch.equal(first, model.latents[1])
    assert torch.equal(last, model.latents[2])
    torch.testing.assert_close(between, 0.75 * model.latents[1] + 0.25 * model.latents[2])


def test_rendering_in_bands_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = latent_inr(**PIXELWISE)
    whole = list(model.render([0, 1.5], size=(40, 50)))
    monkeypatch.setattr("lightning_inr.models.base.PIXELS_AT_ONCE", 700)
    banded = list(model.render([0, 1.5], size=(40, 50)))
    assert all((a.int() - b.int()).abs().max() <= 1 for a, b in zip(whole, banded, strict=True))


def test_shared_data_are_computed_once_for_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    prepare = LatentINR.prepare

    def counting(self: LatentINR, *size_and_window: Any) -> object:
        calls.append(size_and_window)
        return prepare(self, *size_and_window)

    monkeypatch.setattr(LatentINR, "prepare", counting)
    assert len(list(latent_inr(VideoShape(40, 400, 400, 25.0)).render(range(40)))) == 40
    assert len(calls) == 1


@pytest.mark.parametrize("height", [1, 3, 20, 21, 39])
def test_heights_that_no_stride_divides(height: int) -> None:
    model = latent_inr(VideoShape(2, height, 30, 25.0))
    assert model(torch.tensor([0.0])).shape == (1, 3, height, 30)
    assert model.padded_size == (-(-height // 4) * 4, 32)


def test_the_cost_of_a_window_is_its_share_of_the_frame() -> None:
    model = small_model("latent_inr", VideoShape(2, 400, 400, 25.0))
    assert model.prepare(window=Window(200, 200, 4, 4)).features.shape[0] <= 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank=0: choose a whole number from 1 to 16"),
        ({"rank": 17}, "rank=17: choose a whole number from 1 to 16"),
        ({"modulated_layers": [3]}, "modulated_layers=3: choose a whole number from 0 to 2"),
        ({"modulated_layers": []}, "name at least one layer"),
        ({"modulation": "softmax"}, "modulation=softmax: choose one of sigmoid, tanh, one_plus"),
        ({"activation": "sine"}, "activation=sine: choose one of relu, gelu, silu"),
        ({"latent_start": "zeros"}, "latent_start=zeros: choose one of normal, smooth"),
        ({"width": "wide"}, "width=wide: choose a whole number"),
        ({"stages": []}, "give 1 to 8, the last of 3 channels"),
        ({"stages": [{"stride": 2}]}, "the last of 3 channels"),
        ({"stages": [{"stride": 2, "channels": 3, "kernel": 2, "grid_channels": 0}]}, "kernel=2: choose one of 1, 3"),
        ({"encoding": {"kind": "octree"}}, "encoding.kind=octree: choose one of"),
    ],
)
def test_wrong_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent_inr(**change)


@pytest.mark.parametrize("stages", [SMALL["latent_inr"]["stages"], PIXELWISE["stages"]])
def test_initial_frames_have_the_given_colour(stages: list[dict[str, int]]) -> None:
    colour = torch.tensor([0.1, 0.5, 0.9])
    model = latent_inr(stages=stages)
    model.init_output_colour(colour)
    torch.testing.assert_close(model(torch.zeros(1)).mean(dim=(0, 2, 3)), colour, atol=0.02, rtol=0)
    model.init_output_colour(torch.zeros(3))  # black lies where the sigmoid is flat; the beginning does not
    assert model(torch.zeros(1)).min() > 0.01
