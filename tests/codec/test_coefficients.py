"""Coding of grids over time as coefficients."""

import numpy as np
import pytest
import torch

from lightning_inr.codec.coefficients import (
    NONZERO_SHARES,
    PARAMETERS,
    Coefficients,
    dequantize_table,
    parameters_of,
    quantize_table,
    read_table,
    rounding_error,
    runs_of,
)
from lightning_inr.codec.contexts import CONTEXTS, all_positions, block_frequencies, coded_magnitudes, contexts
from lightning_inr.codec.entropy import RangeCoder
from lightning_inr.types import GridLayout

LAYOUT = GridLayout((4, 2), 20, 33, 2)


def smooth_table() -> torch.Tensor:
    """A grid of waves with a few sharp points, as fitted grids are."""
    place = torch.arange(LAYOUT.rows)[:, None] / 7 + torch.arange(LAYOUT.columns) / 5
    waves = torch.sin(place + torch.arange(LAYOUT.slices)[:, None, None] / 9)
    table = waves.flatten(1)[:, :, None].repeat(1, 1, LAYOUT.channels)
    return table + 2 * (torch.rand_like(table) < 0.01)


def written(coefficients: Coefficients, layout: GridLayout = LAYOUT) -> tuple[np.ndarray, np.ndarray]:
    parameters = parameters_of(coefficients, layout)
    return parameters, RangeCoder().encode(runs_of(coefficients, parameters, layout))


def test_encoded_coefficients_are_decoded() -> None:
    coefficients = quantize_table(smooth_table(), LAYOUT, 0.2, 0)
    parameters, words = written(coefficients)
    read = read_table(parameters, LAYOUT, RangeCoder().open(words))
    np.testing.assert_array_equal(read.symbols, coefficients.symbols)
    assert read.high == coefficients.high
    assert read.most == coefficients.most


@pytest.mark.parametrize("layout", [GridLayout((3,), 1, 9, 1), GridLayout((2,), 9, 1, 2), GridLayout((1,), 1, 1, 1)])
def test_planes_of_one_row_or_column_are_read(layout: GridLayout) -> None:
    table = torch.randn(layout.slices, layout.rows * layout.columns, layout.channels)
    coefficients = quantize_table(table, layout, 0.2, 0)
    parameters, words = written(coefficients, layout)
    read = read_table(parameters, layout, RangeCoder().open(words))
    np.testing.assert_array_equal(read.symbols, coefficients.symbols)


def test_a_decoded_table_is_quantised_to_the_same_symbols() -> None:
    first = quantize_table(smooth_table(), LAYOUT, None, 64)
    again = quantize_table(dequantize_table(first, LAYOUT), LAYOUT, None, 64)
    np.testing.assert_array_equal(again.symbols, first.symbols)
    assert again.high == first.high


def test_contexts_take_fewer_bits_than_one_table() -> None:
    coefficients = quantize_table(smooth_table(), LAYOUT, 0.2, 0)
    counts = np.unique(coefficients.symbols, return_counts=True)[1] / coefficients.symbols.size
    order_0 = -(counts * np.log2(counts)).sum() * coefficients.symbols.size
    words = written(coefficients)[1]
    assert 32 * len(words) + 8 * PARAMETERS.itemsize < order_0


def test_a_context_depends_on_lower_frequencies_only() -> None:
    def of(magnitudes: torch.Tensor) -> torch.Tensor:
        return contexts(coded_magnitudes(magnitudes, LAYOUT), all_positions(LAYOUT, magnitudes.device))

    magnitudes = torch.randint(0, 9, (LAYOUT.slices, LAYOUT.channels, LAYOUT.rows, LAYOUT.columns))
    height = block_frequencies(LAYOUT)
    for least in range(int(height.max()) + 1):
        higher = (height >= least).view(LAYOUT.rows, LAYOUT.columns)
        changed = torch.where(higher, torch.randint_like(magnitudes, 0, 9), magnitudes)
        assert torch.equal(of(magnitudes)[height == least], of(changed)[height == least])
    assert int(of(magnitudes).max()) < CONTEXTS


def test_a_grid_of_zeros_takes_only_its_parameters() -> None:
    coefficients = quantize_table(torch.zeros(LAYOUT.slices, LAYOUT.rows * LAYOUT.columns, 2), LAYOUT, 0.1, 0)
    assert len(written(coefficients)[1]) == 0
    assert not dequantize_table(coefficients, LAYOUT).any()


def test_rounding_in_training_equals_coding() -> None:
    table = smooth_table()
    rounded = table + rounding_error(table, LAYOUT, 0.2, 0)
    stored = dequantize_table(quantize_table(table, LAYOUT, 0.2, 0), LAYOUT)
    torch.testing.assert_close(rounded, stored, atol=0.02, rtol=0)  # half precision of the largest


def test_invalid_parameters_are_refused() -> None:
    parameters = parameters_of(quantize_table(smooth_table(), LAYOUT, 0.2, 0), LAYOUT)
    parameters["high"] = np.nan
    with pytest.raises(ValueError, match="largest coefficient of nan"):
        read_table(parameters, LAYOUT, RangeCoder().open(np.zeros(0, np.uint32)))


def test_shares_are_the_same_everywhere() -> None:
    assert NONZERO_SHARES[:3] == [4294967295, 4148664942, 4007346184]
    assert NONZERO_SHARES[20] == pytest.approx(2**31, rel=1e-8)
