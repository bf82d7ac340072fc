import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.e_nerv import ENeRV
from lightning_inr.models.size import count_coded
from lightning_inr.models.spatial import SpatialRepresentation
from lightning_inr.nn.adaptive_stages import FactoredStage, halved_channels
from lightning_inr.types import VideoShape
from tests.conftest import SMALL, moving_square

FIRST = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])


def test_the_size_is_that_of_the_paper() -> None:
    net = build_on_meta("e_nerv", VideoShape(132, 720, 1280, 25.0))
    assert count_coded(net) == pytest.approx(12.49e6, rel=0.001)
    assert isinstance(net, ENeRV)
    assert isinstance(net.blocks.stages[0], FactoredStage)
    assert halved_channels(196, 3.0, 96, 5) == [588, 294, 147, 96, 96]


@pytest.mark.parametrize("name", ["e_nerv", "c_nerv"])
def test_spatial_features_are_computed_once_for_all_frames(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build(name, VideoShape(40, 22, 30, 25.0), **SMALL[name])
    assert isinstance(net, SpatialRepresentation)
    calls: list[None] = []
    plain = net.spatial_features

    def counted() -> torch.Tensor:
        calls.append(None)
        return plain()

    monkeypatch.setattr(net, "spatial_features", counted)
    monkeypatch.setattr("lightning_inr.models.base.PIXELS_AT_ONCE", 22 * 30 * 4)
    assert len(list(net.render(range(40)))) == 40
    assert len(calls) == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["e_nerv", "c_nerv", "hnerv", "hnerv_boost", "dnerv"])
def test_initial_frames_differ_and_can_be_fitted(name: str, seed: int) -> None:
    """A network with equal initial frames, or without a gradient, would stay near the mean."""
    torch.manual_seed(seed)
    net = build(name, VideoShape(5, 22, 30, 25.0), **SMALL[name])
    video = moving_square(5, 22, 30).float() / 255
    with torch.no_grad():
        first, *_, last = net.reconstruct(FIRST, video)
    assert (first - last).abs().mean() > 1e-5
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = (net.reconstruct(FIRST, video) - video).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("option", "message"),
    [({"strides": []}, "strides="), ({"token_ratio": 0}, "token_ratio=0"), ({"heads": 0}, "heads=0"),
     ({"least_ratio": -1.0}, "least_ratio=-1"), ({"expansion": 1000}, "expansion=1000")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("e_nerv", VideoShape(4, 22, 30, 25.0), **{**SMALL["e_nerv"], **option})
