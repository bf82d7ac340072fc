import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.hnerv_boost import HNeRVBoost
from lightning_inr.models.size import count_coded
from lightning_inr.nn.transformed import TransformedStage
from lightning_inr.nn.upsample import depth_to_space
from lightning_inr.types import VideoShape
from tests.conftest import SMALL, small_model


def test_the_default_has_three_million_parameters() -> None:
    net = build_on_meta("hnerv_boost", VideoShape(132, 720, 1280, 25.0))
    assert count_coded(net) == pytest.approx(3e6, rel=0.01)
    assert isinstance(net, HNeRVBoost)
    assert len(net.blocks) == 1 + 1 + 2 + 2 + 2
    assert net.embeddings["content"].shape == (132, 16, 9, 16)


def test_a_stage_scales_and_shifts_its_convolution() -> None:
    stage = TransformedStage(3, 4, 2, 3, 5)
    stage.reset_parameters()
    x, code = torch.randn(2, 3, 6, 7), torch.randn(2, 5)
    scale, shift = stage.affine(code)[:, :, None, None].chunk(2, dim=1)
    expected = torch.sin(depth_to_space(stage.convolution(x), 2) * (1 + scale) + shift)
    torch.testing.assert_close(stage(x, code), expected, atol=1e-5, rtol=1e-4)


def test_the_decoder_depends_on_time() -> None:
    net = small_model("hnerv_boost")
    assert isinstance(net, HNeRVBoost)
    same = {"content": net.embeddings["content"][:1].expand(2, -1, -1, -1)}
    first, second = net.decode_embeddings(same, torch.tensor([0.0, 3.0]))
    assert (first - second).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("option", "message"),
    [({"convolutions": [1]}, "convolutions="), ({"code_width": 0}, "code_width=0"), ({"base": 1.0}, "base=1.0")],
)
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("hnerv_boost", VideoShape(4, 22, 30, 25.0), **{**SMALL["hnerv_boost"], **option})
