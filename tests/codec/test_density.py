import numpy as np
import pytest
import torch

from lightning_inr.codec.density import DENSITIES


def entropy(symbols: torch.Tensor) -> float:
    share = symbols.unique(return_counts=True)[1].double() / symbols.numel()
    return float(-(share * share.log2()).sum())


@pytest.mark.parametrize("density", list(DENSITIES))
@pytest.mark.parametrize(("scale", "tolerance"), [(0.3, 0.15), (2.0, 0.03), (40.0, 0.03)])
def test_the_estimate_is_the_size_of_the_entropy_code(density: str, scale: float, tolerance: float) -> None:
    draw = np.random.default_rng(0).normal if density == "gaussian" else np.random.default_rng(0).laplace
    values = torch.from_numpy(draw(0, scale, 100_000)).float()
    bits = DENSITIES[density](values.round()).mean()
    assert float(bits) == pytest.approx(entropy(values.round()), rel=tolerance)


@pytest.mark.parametrize("density", list(DENSITIES))
def test_the_gradient_moves_rare_values_towards_common_ones(density: str) -> None:
    values = torch.from_numpy(np.random.default_rng(0).laplace(0, 3, 10_000)).float().requires_grad_()
    DENSITIES[density](values).sum().backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    tail = values.detach().abs() > 2
    uphill = (values.grad * values.detach().sign())[tail]
    assert uphill.mean() > 0.1


@pytest.mark.parametrize("density", list(DENSITIES))
@pytest.mark.parametrize("values", [[0.0], [5.0], [0.0, 0.0, 1e6], [1e-8, -1e-8]])
def test_extreme_tensors_cost_a_finite_number_of_bits(density: str, values: list[float]) -> None:
    tensor = torch.tensor(values, requires_grad=True)
    bits = DENSITIES[density](tensor).sum()
    bits.backward()
    assert 0 <= float(bits) < 100
    assert tensor.grad is not None
    assert torch.isfinite(tensor.grad).all()
