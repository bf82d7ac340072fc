"""SOAP: Adam in a rotated space, and plain Adam where nothing is rotated."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from lightning_inr.training.soap import EPS, LONGEST_SIDE, Soap


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))


def groups(net: nn.Module, layers: bool, lr: float = 1e-2) -> list[dict[str, Any]]:
    return [{"params": list(net.parameters()), "lr": lr, "layers": layers}]


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Tensor:
    """The loss after `steps` towards a fixed target whose inputs are strongly correlated."""
    noise = torch.Generator().manual_seed(1)
    source = torch.randn(1, 1, 12, 12, generator=noise) + 0.1 * torch.randn(1, 3, 12, 12, generator=noise)
    target = torch.randn(1, 3, 12, 12, generator=noise)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(source) - target).square().mean()
        loss.backward()
        optimizer.step()
    return loss.detach()


def test_without_layers_soap_is_adam() -> None:
    ours = network()
    theirs = copy.deepcopy(ours)
    train(ours, Soap(groups(ours, layers=False), betas=(0.9, 0.99)), 5)
    train(theirs, Adam(theirs.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=EPS, fused=True), 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def regress(turn: Tensor, layers: bool) -> float:
    """The loss after 150 steps of a regression whose inputs, of very unlike variances, are rotated by `turn`."""
    noise = torch.Generator().manual_seed(0)
    source = torch.randn(64, 12, generator=noise) * torch.logspace(0, -2, 12)
    target = source @ torch.randn(12, 5, generator=noise)
    weight = nn.Parameter(torch.zeros(5, 12))
    optimizer = Soap([{"params": [weight], "lr": 3e-2, "layers": layers}])
    for _ in range(150):
        optimizer.zero_grad()
        loss = (source @ turn @ weight.T - target).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_rotated_inputs_slow_down_adam_more_than_soap() -> None:
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3))).Q
    assert regress(rotation, layers=False) > 10 * regress(torch.eye(12), layers=False)
    assert regress(rotation, layers=True) < 4 * regress(torch.eye(12), layers=True)


def test_long_sides_have_no_basis() -> None:
    weight = nn.Parameter(torch.randn(LONGEST_SIDE + 1, 4))
    optimizer = Soap([{"params": [weight], "layers": True}])
    weight.square().sum().backward()
    optimizer.step()
    assert "basis_right" in optimizer.state[weight]
    assert "basis_left" not in optimizer.state[weight]


def test_zero_gradients_change_nothing() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = Soap([{"params": [weight], "layers": True}])
    for _ in range(25):
        weight.grad = torch.zeros(4, 4)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.ones(4, 4))


def test_training_resumes_from_the_state() -> None:
    through, before = network(), network()
    before.load_state_dict(through.state_dict())
    train(through, Soap(groups(through, layers=True)), 24)
    first = Soap(groups(before, layers=True))
    train(before, first, 12)
    after = copy.deepcopy(before)
    second = Soap(groups(after, layers=True))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(after, second, 12)
    for one, other in zip(through.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def fit_table(slices: tuple[int, ...] | None) -> Tensor:
    """Mean distance of slices from their common target after four steps on each."""
    table = nn.Parameter(torch.zeros(7, 4, 1))
    group = {"params": [table], "lr": 1e-2, "layers": False, "slices": [slices]}
    optimizer = Soap([group])
    for step in range(28):
        optimizer.zero_grad()
        (table[step % 7] - 1).square().sum().backward()
        optimizer.step()
    return (table.detach() - 1).abs().mean((1, 2))


def test_the_mean_over_the_slices_of_a_shot_is_updated_at_every_step() -> None:
    alone, together = fit_table(None), fit_table((6, 1))
    assert together[:6].max() < 0.8 * alone[:6].min()
    torch.testing.assert_close(together[6], alone[6])  # a shot of one slice has had its step


def test_learning_rates_on_the_device_give_the_same_step() -> None:
    ours, data = network(), torch.randn(2, 3, 8, 8)
    theirs = copy.deepcopy(ours)
    optimizers = [Soap(groups(net, layers=True)) for net in (ours, theirs)]
    for step in range(3):
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(data).square().mean().backward()
            optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
            if net is ours:
                optimizer.step()
            else:
                optimizer._rates = [torch.tensor(0.01 / (step + 1))]
                with torch.no_grad():
                    optimizer._turn_bases(optimizer._advance_at_rates())
                assert optimizer.param_groups[0]["lr"] == 0.01 / (step + 1)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
