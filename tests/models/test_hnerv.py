import pytest
import torch
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.hnerv import HNeRV
from lightning_inr.models.size import count_coded
from lightning_inr.nn.convnext import ConvNeXtBlock
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.types import FrameBatch, VideoShape
from tests.conftest import SMALL

BUNNY = VideoShape(132, 640, 1280, 25.0)


# 0.35 M lies between two steps of the ladder: at that size one channel of one block is 3 %.
@pytest.mark.parametrize(
    ("channels", "size", "tolerance"),
    [(32.2, 0.35e6, 0.016), (48.3, 0.75e6, 0.01), (68.5, 1.5e6, 0.01), (97.4, 3e6, 0.01)],
)
def test_the_papers_channels_give_the_papers_sizes(channels: float, size: float, tolerance: float) -> None:
    assert count_coded(build_on_meta("hnerv", BUNNY, channels=channels)) == pytest.approx(size, rel=tolerance)


def test_kernels_grow_and_channels_shrink() -> None:
    net = build_on_meta("hnerv", BUNNY, channels=68.5)
    assert isinstance(net, HNeRV)
    assert net.embeddings["content"].shape == (132, 16, 2, 4)
    stages = [stage for stage in net.blocks if isinstance(stage, UpsampleStage)]
    assert [stage.convolution.kernel_size[0] for stage in stages] == [1, 3, 5, 5, 5]
    assert [stage.convolution.out_channels // stage.stride**2 for stage in stages] == [57, 48, 40, 33, 28]


def test_the_encoder_may_have_larger_strides_than_the_decoder() -> None:
    options = {**SMALL["hnerv"], "encoder_strides": [2, 2, 2]}
    net = build("hnerv", VideoShape(3, 22, 30, 25.0), **options)
    assert isinstance(net, HNeRV)
    assert net.embeddings["content"].shape == (3, 3, 3, 4)
    assert net.padded_size == (24, 32)
    assert net.reconstruct(torch.arange(3.0), torch.rand(3, 3, 22, 30)).shape == (3, 3, 22, 30)


def test_a_held_out_frame_is_decoded_from_the_mean_embedding_of_its_neighbours() -> None:
    net = build("hnerv", VideoShape(5, 22, 30, 25.0, stride=2), **SMALL["hnerv"])
    frames = torch.rand(5, 3, 22, 30)
    net.store_embeddings([FrameBatch(torch.arange(5.0), frames)])
    first, between, second = net.latent(torch.tensor([0.0, 1.0, 2.0]))
    assert (first - second).abs().max() > 0
    torch.testing.assert_close(between, (first + second) / 2)


def test_stored_embeddings_give_the_frames_of_the_encoder() -> None:
    net = build("hnerv", VideoShape(3, 22, 30, 25.0), **SMALL["hnerv"])
    index, frames = torch.arange(3.0), torch.rand(3, 3, 22, 30)
    fresh = net.reconstruct(index, frames)
    net.store_embeddings([FrameBatch(index, frames)])
    torch.testing.assert_close(net(index), fresh)


def test_a_convnext_block_scales_its_residual() -> None:
    block = ConvNeXtBlock(4)
    block.reset_parameters()
    assert block.scale is not None
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(block(x), x, atol=1e-4, rtol=0)
    added = _added(block, x, 0.5)
    torch.testing.assert_close(_added(block, x, 1.0), 2 * added, atol=1e-5, rtol=1e-4)
    assert added.abs().mean() > 0.01


@torch.no_grad()
def _added(block: ConvNeXtBlock, x: Tensor, scale: float) -> Tensor:
    assert block.scale is not None
    block.scale.fill_(scale)
    return block(x) - x


@pytest.mark.parametrize(
    ("option", "message"),
    [({"strides": [0]}, "strides="), ({"channels": 0}, "channels=0"), ({"reduction": 0.5}, "reduction=0.5"),
     ({"first_kernel": 2}, "first_kernel=2"), ({"encoder_strides": [3]}, "encoder_strides="),
     ({"embedding_channels": 0}, "embedding_channels=0")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("hnerv", VideoShape(4, 22, 30, 25.0), **{**SMALL["hnerv"], **option})
