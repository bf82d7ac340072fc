import importlib.util
import math

import pytest
import torch

from lightning_inr.nn.encodings import DenseGrid, FourierFeatures, HashGrid, build_encoding, cell_positions


def by_hand(grid: HashGrid, y: float, x: float) -> list[float]:
    """tiny-cuda-nn's hash grid in plain Python, one position, from its documentation and Müller et al. 2022."""
    values: list[float] = []
    start = 0
    table = grid.table.detach().view(-1, grid.features).tolist()
    for level in range(grid.levels):
        scale = math.exp2(level * math.log2(grid.growth)) * grid.coarsest - 1
        resolution = math.ceil(scale) + 1
        entries = min(math.ceil(resolution**2 / 8) * 8, 2**grid.log2_entries)
        px, py = x * scale + 0.5, y * scale + 0.5
        sums = [0.0] * grid.features
        for dx in (0, 1):
            for dy in (0, 1):
                cx, cy = math.floor(px) + dx, math.floor(py) + dy
                weight = abs(1 - dx - (px - math.floor(px))) * abs(1 - dy - (py - math.floor(py)))
                dense = resolution * resolution <= entries
                index = cx + cy * resolution if dense else cx ^ ((cy * 2654435761) % 2**32)
                for feature in range(grid.features):
                    sums[feature] += weight * table[start + index % entries][feature]
        values += sums
        start += entries
    return values


@pytest.mark.parametrize("log2_entries", [6, 10])
def test_hash_grid_equals_tiny_cuda_nns_definition(log2_entries: int) -> None:
    grid = HashGrid(levels=4, features=2, log2_entries=log2_entries, coarsest=5, finest=37)
    grid.reset_parameters()
    where = torch.tensor([[0.02, 0.97], [0.5, 0.5], [0.313, 0.721], [0.999, 0.001]])
    expected = torch.tensor([by_hand(grid, *point) for point in where.tolist()])
    torch.testing.assert_close(grid(where), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("tinycudann") is None, reason="needs tinycudann, a GPU"
)
def test_tinycudann_gives_the_same_result() -> None:
    grid = HashGrid(levels=8, features=2, log2_entries=12)
    grid.reset_parameters()
    where = torch.rand(1000, 2)
    torch.testing.assert_close(grid.cuda()(where.cuda()).cpu(), grid.cpu()(where), atol=1e-3, rtol=0)


def test_every_hash_grid_entry_gets_a_gradient() -> None:
    grid = HashGrid(levels=2, features=2, log2_entries=8, coarsest=4, finest=8)
    grid.reset_parameters()
    grid(torch.rand(4000, 2)).square().sum().backward()
    assert grid.table.grad is not None
    assert (grid.table.grad != 0).float().mean() > 0.8


def test_dense_grid_is_exact_at_its_points_and_linear_between() -> None:
    grid = DenseGrid(height=3, width=4, channels=2)
    grid.reset_parameters()
    where = cell_positions(0, 0, 3, 4, 3, 4, like=grid.grid)
    torch.testing.assert_close(grid(where), grid.grid.flatten(1).T)
    middle = grid(torch.tensor([[0.5, 0.5]]))[0]
    torch.testing.assert_close(middle, (grid.grid[:, 1, 1] + grid.grid[:, 1, 2]) / 2)


def test_fourier_features_double_in_frequency() -> None:
    encoding = FourierFeatures(octaves=3)
    assert encoding.width == 12
    at = encoding(torch.tensor([[0.25, 0.5]]))[0]
    expected = [math.sin(math.pi * 2**k * v) for v in (0.25, 0.5) for k in range(3)]
    expected += [math.cos(math.pi * 2**k * v) for v in (0.25, 0.5) for k in range(3)]
    torch.testing.assert_close(at, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["fourier", "grid", "hash"])
def test_width_is_the_number_of_outputs(kind: str) -> None:
    encoding = build_encoding(kind)
    assert encoding(torch.rand(5, 2)).shape == (5, encoding.width)


def test_wrong_encodings_are_named() -> None:
    with pytest.raises(ValueError, match=r"encoding\.kind=octree: choose one of fourier, grid, hash"):
        build_encoding("octree")
    with pytest.raises(ValueError, match="levels"):
        build_encoding("fourier", levels=3)
    with pytest.raises(ValueError, match=r"encoding.levels=0: choose"):
        build_encoding("hash", levels=0)
