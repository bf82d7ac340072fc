import pytest
import torch
import torch.nn.functional as F

from lightning_inr.nn.hypernetwork import Hypernetwork
from lightning_inr.nn.modulation import MODULATIONS, ModulatedLinear


def test_a_modulated_layer_is_a_linear_layer_per_frame() -> None:
    layer = ModulatedLinear(5, 7)
    modulation = torch.rand(3, 7, 5)
    x = torch.rand(11, 5)
    shared = layer.modulated(x, modulation)
    own = layer.modulated(x.expand(3, -1, -1), modulation)
    for frame in range(3):
        expected = F.linear(x, layer.weight * modulation[frame], layer.bias)
        torch.testing.assert_close(shared[frame], expected)
        torch.testing.assert_close(own[frame], expected)


@pytest.mark.parametrize("name", list(MODULATIONS))
def test_modulations_start_neutral(name: str) -> None:
    modulation = MODULATIONS[name]
    network = Hypernetwork(4, 1, 8, in_features=6, out_features=5, rank=3, start=modulation.start)
    network.reset_parameters()
    p, q = network(torch.randn(2, 4))
    assert p.shape == (2, 5, 3)
    assert q.shape == (2, 6, 3)
    sigma = modulation.sigma(p @ q.mT)
    torch.testing.assert_close(sigma, torch.full_like(sigma, modulation.neutral))


@pytest.mark.parametrize("name", list(MODULATIONS))
def test_the_first_step_changes_the_modulation(name: str) -> None:
    modulation = MODULATIONS[name]
    network = Hypernetwork(4, 1, 8, in_features=6, out_features=5, rank=3, start=modulation.start)
    network.reset_parameters()
    p, q = network(torch.randn(2, 4))
    (modulation.sigma(p @ q.mT) * torch.randn(2, 5, 6)).sum().backward()
    assert network.factors.weight.grad is not None
    assert network.factors.weight.grad.abs().max() > 1e-3
