from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.size import count_coded
from lightning_inr.models.t_nerv import TNeRV, TNeRVBlock, TNeRVConfig
from lightning_inr.types import FrameBatch, VideoShape, Window
from tests.conftest import SMALL
from tests.test_configs import compose

SHAPE = VideoShape(9, 22, 30, 25.0)
ABLATIONS: dict[str, dict[str, Any]] = {
    "E1 embeddings only": {"grid_frames": []},
    "E2 grids only": {"embedding_share": 0},
    "E3 no temporal augmentation": {"temporal_augmentation": False},
    "D1 no flow guidance": {"flow_guidance": False},
    "D2 no adaptive norm": {"adaptive_norm": False},
    "D3 regular convolutions": {"regular_convolutions": True},
}


def small(**options: Any) -> TNeRV:
    net = build("t_nerv", SHAPE, **{**SMALL["t_nerv"], **options})
    assert isinstance(net, TNeRV)
    return net.eval()


def published(file: str, height: int, width: int) -> TNeRV:
    options: Any = OmegaConf.to_container(compose(f"model={file}").model, resolve=True)
    net = build_on_meta(video=VideoShape(600, height, width, 120.0), **options)
    assert isinstance(net, TNeRV)
    return net


# Tables 6, 7 and 8 of the supplement: grids' and embeddings' channels, the first convolution, the blocks.
@pytest.mark.parametrize(
    ("file", "height", "width", "millions", "features", "widths"),
    [("t_nerv", 720, 1280, 12.4, (30, 35, 125), [231, 192, 160, 134, 111, 93]),
     ("t_nerv_960p", 960, 1920, 3.0, (11, 8, 41), [102, 85, 71, 59, 49, 41]),
     ("t_nerv_compression", 1080, 1920, 9.3, (40, 26, 146), [160, 136, 112, 96, 80, 64])],
)  # fmt: skip
def test_published_sizes_are_met(
    file: str, height: int, width: int, millions: float, features: tuple[int, int, int], widths: list[int]
) -> None:
    net = published(file, height, width)
    grid, embedding = net.grids.channels // 3, net.embeddings["frame"].shape[1]
    assert (grid, embedding, net.before.in_channels) == features
    blocks = [block for block in net.blocks if isinstance(block, TNeRVBlock)]
    built = [block.grow.convolution.out_channels // block.grow.stride**2 for block in blocks]
    assert [net.before.out_channels, *built] == widths
    assert count_coded(net) == pytest.approx(millions * 1e6, rel=0.01)


def test_the_bytes_of_the_compression_model_are_shared_out_as_published() -> None:
    net = published("t_nerv_compression", 1080, 1920)
    sizes = {role: sum(net.state_dict()[name].numel() for name in names) for role, names in net.coded_groups().items()}
    total = sum(sizes.values())
    assert {role: round(size / total, 2) for role, size in sizes.items()} == pytest.approx(
        {"embeddings": 0.24, "grid": 0.27, "base": 0.48}, abs=0.011
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_trains_all_parameters_and_decodes(name: str) -> None:
    net = small(**ABLATIONS[name])
    index, target = torch.arange(9.0), torch.rand(9, 3, 22, 30)
    for _ in range(2):
        outputs = net.training_outputs(index, target)
        assert set(outputs) == ({"final"} if "D1" in name else {"final", *net.aux_weights})
        sum(((output - target).square().mean() for output in outputs.values()), torch.zeros(())).backward()
        net.store_embeddings([FrameBatch(index, target)])
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in net.parameters())
    names = [each for group in net.coded_groups().values() for each in group]
    net.decoder_only()
    assert sorted(names) == sorted(net.state_dict())
    assert net(torch.tensor([0.0, 3.5])).shape == (2, 3, 22, 30)
    assert net.passes_per_frame == (1 if "D1" in name else 5)


@pytest.mark.parametrize(("name", "role"), [("E1 embeddings only", "grid"), ("E2 grids only", "embeddings")])
def test_omitted_parts_take_no_bytes(name: str, role: str) -> None:
    assert set(small().coded_groups()) - set(small(**ABLATIONS[name]).coded_groups()) == {role}


def test_the_augmentation_is_stored_with_the_embeddings() -> None:
    net = small()
    frames = torch.rand(1, 3, 22, 30).expand(2, -1, -1, -1)
    with torch.no_grad():
        first, last = net.embed(torch.tensor([0.0, 8.0]), net.pad(frames))["frame"]
    assert (first - last).abs().max() > 1e-3  # the same picture at two times
    assert not any("augmentation" in name for names in net.coded_groups().values() for name in names)


def test_unrendered_neighbours_are_black_until_embeddings_are_stored() -> None:
    net = small()
    index, target = torch.tensor([4.0]), torch.rand(1, 3, 22, 30)
    assert net.training_outputs(index, target)["aggregated"].max() == 0
    assert net.frame_store.written_rows() == [4]
    net.store_embeddings([FrameBatch(torch.arange(9.0), torch.rand(9, 3, 22, 30))])
    assert net.training_outputs(index, target)["aggregated"].min() > 0


def test_windows_are_errors_with_an_encoder() -> None:
    with pytest.raises(UserError, match=r"data\.window=null"):
        small().training_outputs(torch.tensor([4.0]), torch.rand(1, 3, 5, 7), Window(0, 0, 5, 7))


def test_grids_alone_have_no_latents() -> None:
    with pytest.raises(UserError, match="no embeddings"):
        small(embedding_share=0).latent(torch.tensor([0.0]))


@pytest.mark.parametrize(
    ("option", "message"),
    [({"embedding_share": 0, "grid_frames": []}, "at least one"), ({"width_shares": [0.5]}, "width_shares="),
     ({"encoder_blocks": [1]}, "encoder_blocks="), ({"encoder_widths": []}, "encoder_widths="),
     ({"flow_guidance": 1}, "flow_guidance=1"), ({"channels": 0}, "channels=0"), ({"grid_share": 0}, "grid_share=0")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("t_nerv", SHAPE, **{**SMALL["t_nerv"], **option})


def test_the_defaults_are_those_of_the_file() -> None:
    options: Any = OmegaConf.to_container(compose("model=t_nerv").model, resolve=True)
    del options["name"]
    assert TNeRVConfig(**options) == TNeRVConfig()
