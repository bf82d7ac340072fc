from itertools import pairwise
from typing import Any

import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.nirvana import NIRVANA
from lightning_inr.nn.weight_chain import WeightChain
from lightning_inr.types import VideoShape
from tests.conftest import SMALL, small_model


def nirvana(frames: int = 9, stride: int = 1, **options: Any) -> NIRVANA:
    net = build("nirvana", VideoShape(frames, 22, 30, 25.0, stride), **{**SMALL["nirvana"], **options})
    assert isinstance(net, NIRVANA)
    return net


def test_weights_are_the_full_ones_plus_all_differences_since() -> None:
    chain = WeightChain(2, 3, 1, links=5, span=3, spread=1.0)
    assert chain.differences is not None
    torch.nn.init.normal_(chain.full)
    torch.nn.init.normal_(chain.differences)
    values = [
        chain.full[0],
        chain.full[0] + chain.differences[0] / 3,
        chain.full[0] + (chain.differences[0] + chain.differences[1]) / 3,
        chain.full[1],
        chain.full[1] + chain.differences[2] / 3,
    ]
    for link, expected in enumerate(values):
        weight, bias = chain(torch.tensor([link]))
        assert weight.shape == (3, 2, 1, 1)
        torch.testing.assert_close(torch.cat([bias, weight.flatten()]), expected)


def test_a_link_trains_full_weights_and_its_own_difference() -> None:
    chain = WeightChain(2, 3, 1, links=4, span=0, spread=1.0)
    chain.reset_parameters()
    weight, bias = chain(torch.tensor([2]))
    (weight.sum() + bias.sum()).backward()
    assert chain.full.grad is not None
    assert chain.differences is not None
    assert chain.differences.grad is not None
    assert (chain.full.grad == 1).all()
    assert (chain.differences.grad.abs().amax(1) > 0).tolist() == [False, True, False]


def test_all_groups_start_as_one_network() -> None:
    net = nirvana(frames=8, group=2, reset_every=3)
    groups = [net.group_logits(torch.tensor([group])) for group in range(4)]
    for group in groups[1:]:
        torch.testing.assert_close(group, groups[0])


def test_a_difference_moves_its_group_and_those_after_it_only() -> None:
    net = nirvana(frames=9, group=3)
    frames = net(torch.arange(9))
    chain = net.decoder[-1]
    assert isinstance(chain, WeightChain)
    assert chain.differences is not None
    assert len(chain.differences) == 2
    with torch.no_grad():
        chain.differences[0] += 0.1
    moved = (net(torch.arange(9)) - frames).abs().amax((1, 2, 3)) > 1e-6
    assert moved.tolist() == [False] * 3 + [True] * 6


def test_patches_are_decoded_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nirvana()
    whole = net.group_logits(torch.tensor([0]))
    rows, columns = net.rows, net.columns
    features = net._features(torch.tensor([0]))
    monkeypatch.setattr(net, "_features", lambda group: features.flip(0))
    flipped = net.group_logits(torch.tensor([0]))
    patches = whole.unflatten(2, (rows, 4)).unflatten(4, (columns, 4))
    expected = patches.flip(2, 4).flatten(4, 5).flatten(2, 3)
    torch.testing.assert_close(flipped, expected, atol=1e-5, rtol=1e-4)


def test_groups_consist_of_training_frames_and_frames_between_are_blends() -> None:
    net = small_model("nirvana", VideoShape(9, 22, 30, 25.0, stride=4))  # groups (0, 4) and (8)
    assert isinstance(net, NIRVANA)
    training = net(torch.tensor([0.0, 4.0, 8.0]))
    between = net(torch.tensor([1.0, 7.0]))
    torch.testing.assert_close(between[0], torch.lerp(training[0], training[1], 0.25))
    torch.testing.assert_close(between[1], torch.lerp(training[1], training[2], 0.75))


def test_one_pass_renders_the_whole_group(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nirvana(frames=9, group=3)
    rendered_groups: list[int] = []
    original = net.group_logits

    def recorded(group: torch.Tensor) -> torch.Tensor:
        rendered_groups.append(int(group))
        return original(group)

    monkeypatch.setattr(net, "group_logits", recorded)
    frames = torch.stack(list(net.render([3.0, 5.0, 4.0, 0.0])))
    assert sorted(rendered_groups) == [0, 1]
    monkeypatch.undo()
    alone = torch.stack([next(iter(net.render([position]))) for position in (3.0, 5.0, 4.0, 0.0)])
    assert (alone.int() - frames.int()).abs().max() <= 1


def test_a_single_frame_equals_that_of_its_group() -> None:
    net = nirvana(frames=9, group=3)
    group, whole = torch.tensor([1]), net.group_logits(torch.tensor([1]))
    for place in range(3):
        torch.testing.assert_close(net.group_logits(group, torch.tensor([place]))[0], whole[place])


def test_model_size_changes_in_small_steps_with_channels() -> None:
    video = VideoShape(132, 180, 320, 25.0)
    counts = [
        sum(parameter.numel() for parameter in build_on_meta("nirvana", video, channels=17 + step / 32).parameters())
        for step in range(48)
    ]
    assert counts == sorted(counts)
    assert max(after / before for before, after in pairwise(counts)) < 1.02


def test_an_integer_width_is_kept() -> None:
    net = build_on_meta("nirvana", VideoShape(3, 64, 64, 25.0), channels=64.0)
    assert isinstance(net, NIRVANA)
    layers = [*net.siren, *net.decoder]
    widths = [layer.shape[0] for layer in layers if isinstance(layer, WeightChain)]
    assert widths == [64, 64, 64, 64, 32 * 16, 32 * 4, 32 * 4, 9 * 4]


@pytest.mark.parametrize(
    ("option", "message"),
    [({"channels": 0}, "channels=0"), ({"layers": 0}, "layers=0"), ({"strides": []}, "strides="),
     ({"group": 0}, "group=0"), ({"reset_every": -1}, "reset_every=-1"), ({"decoder_ratio": 0}, "decoder_ratio=0")],
)  # fmt: skip
def test_wrong_options_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        nirvana(**option)
