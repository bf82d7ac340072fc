from typing import Any

import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.dnerv import DNeRV
from lightning_inr.models.size import count_coded
from lightning_inr.nn.fusion import GatedFusion
from lightning_inr.types import FrameBatch, VideoShape
from tests.conftest import SMALL

SIZE = (22, 30)


def fresh(frames: int, stride: int = 1) -> DNeRV:
    net = build("dnerv", VideoShape(frames, *SIZE, 25.0, stride), **SMALL["dnerv"])
    assert isinstance(net, DNeRV)
    return net


def random_bytes(frames: int) -> torch.Tensor:
    return torch.randint(0, 256, (frames, 3, *SIZE), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("video", "options", "difference", "size"),
    [
        (VideoShape(600, 960, 1920, 25.0), {}, (2, 40, 80), 3.085e6 + 600 * 6528),
        (VideoShape(600, 720, 1280, 25.0), {"strides": [5, 2, 2, 2, 2], "difference_strides": [4, 2, 2],
                                            "channels": 213.4}, (2, 45, 80), 12.4e6),
        (VideoShape(600, 960, 1920, 25.0), {"difference_strides": [4, 4, 3, 2], "fusion": 1, "channels": 84.6},
         (2, 10, 20), 3e6),
    ],
)  # fmt: skip
def test_published_sizes(video: VideoShape, options: dict[str, Any], difference: tuple[int, ...], size: float) -> None:
    net = build_on_meta("dnerv", video, **options)
    assert isinstance(net, DNeRV)
    assert net.embeddings["difference"].shape == (600, *difference)
    assert count_coded(net) == pytest.approx(size, rel=0.01)


def test_differences_are_to_training_neighbours_and_zero_at_the_ends() -> None:
    net = fresh(5, stride=2)
    frames = net.pad(random_bytes(3).float() / 255)
    index = torch.tensor([0.0, 2.0, 4.0])
    net._store_frames(index, frames)
    differences = net._differences(torch.tensor([0.0, 2.0, 3.0, 4.0]), frames[[0, 1, 1, 2]])
    still = torch.zeros_like(frames[0])
    expected = [
        torch.cat([still, frames[1] - frames[0]]),
        torch.cat([frames[1] - frames[0], frames[2] - frames[1]]),
        torch.cat([still, frames[2] - frames[1]]),
        torch.cat([frames[2] - frames[1], still]),
    ]
    torch.testing.assert_close(differences, torch.stack(expected))


def test_blended_frames_are_not_stored() -> None:
    net = fresh(5, stride=2)
    net.reconstruct(torch.tensor([1.0]), random_bytes(1).float() / 255)
    assert not net.frame_store.written_rows()
    net.reconstruct(torch.tensor([2.0]), random_bytes(1).float() / 255)
    assert net.frame_store.written_rows() == [1]


def test_embeddings_are_stored_with_all_neighbours_available() -> None:
    frames = random_bytes(4)
    index = torch.arange(4.0)
    net = fresh(4)
    net.store_embeddings([FrameBatch(index[order], frames[order]) for order in ([2], [0, 3], [1])])
    assert net.embeddings_stored
    assert not net.frame_store.written_rows()
    stored = {name: table.detach().clone() for name, table in net.embeddings.items()}
    net._store_frames(index, net.pad(frames.float() / 255))
    for name, value in net.embed(index, net.pad(frames.float() / 255)).items():
        torch.testing.assert_close(stored[name], value)


def test_a_gate_replaces_content_or_leaves_it() -> None:
    fusion = GatedFusion(2, 2)
    content, difference = torch.randn(2, 1, 2, 3, 4).unbind(0)
    assert fusion.mix.bias is not None
    with torch.no_grad():
        fusion.mix.weight.zero_()
        fusion.mix.bias.copy_(torch.tensor([0.5, 0.5, 30.0, -30.0]))
    mixed = fusion(content, difference)
    torch.testing.assert_close(mixed[:, 0], torch.full_like(mixed[:, 0], 0.5).tanh())
    torch.testing.assert_close(mixed[:, 1], content[:, 1])


@pytest.mark.parametrize(
    ("option", "message"),
    [({"fusion": 3}, "fusion=3"), ({"difference_strides": [3]}, "difference_strides="),
     ({"difference_strides": [8]}, "difference_strides="), ({"difference_channels": 0}, "difference_channels=0")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("dnerv", VideoShape(4, *SIZE, 25.0), **{**SMALL["dnerv"], **option})
