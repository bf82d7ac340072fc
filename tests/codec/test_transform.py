import pytest
import torch

from lightning_inr.codec.transform import block_sizes, from_coefficients, to_coefficients
from lightning_inr.types import GridLayout


@pytest.mark.parametrize(
    "layout", [GridLayout((3, 5), 34, 45, 2), GridLayout((1,), 1, 3, 4), GridLayout((4,), 8, 16, 1)]
)
def test_the_transform_is_orthonormal_and_inverted(layout: GridLayout) -> None:
    table = torch.randn(layout.slices, layout.rows * layout.columns, layout.channels)
    coefficients = to_coefficients(table, layout)
    assert coefficients.shape == (layout.slices, layout.channels, layout.rows, layout.columns)
    assert coefficients.norm() == pytest.approx(float(table.norm()), rel=1e-5)
    torch.testing.assert_close(from_coefficients(coefficients, layout), table, atol=1e-5, rtol=0)


def test_values_constant_in_a_shot_are_one_coefficient() -> None:
    layout = GridLayout((3, 2), 16, 24, 1)
    table = torch.cat([torch.full((3, 16 * 24, 1), 0.5), torch.full((2, 16 * 24, 1), -2.0)])
    assert int((to_coefficients(table, layout).abs() > 1e-4).sum()) == 2


def test_blocks_are_as_even_as_possible() -> None:
    assert block_sizes(45) == [7, 8, 7, 8, 7, 8]
    assert block_sizes(16) == [8, 8]
    assert block_sizes(3) == [3]
