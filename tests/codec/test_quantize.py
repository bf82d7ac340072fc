import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lightning_inr.codec.quantize import QuantizationStep, dequantize, fake_quantize, quantize, quantize_by

tensors = arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=6), elements=st.floats(-1e6, 1e6, width=32))
bits = st.integers(1, 12)


@settings(max_examples=500)
@given(tensors, bits, st.booleans())
def test_round_trip_stays_within_half_a_step_and_is_stable(values: np.ndarray, bits: int, by_channel: bool) -> None:
    tensor = torch.from_numpy(values)
    axis = tensor.ndim - 1 if by_channel else None
    once = quantize(tensor, 2**bits, axis)
    decoded = dequantize(once, tuple(tensor.shape), axis)
    step = float((once.high.astype(np.float64) - once.low).max()) / (2**bits - 1)
    assert (decoded.double() - tensor.double()).abs().max() <= step / 2 + 1e-6 * max(1.0, float(tensor.abs().max()))
    twice = quantize(decoded, 2**bits, axis)
    assert np.array_equal(once.symbols, twice.symbols)
    assert np.array_equal(once.low, twice.low)
    assert np.array_equal(once.high, twice.high)


@pytest.mark.parametrize("axis", [None, 0, 1, 3])
def test_fake_quantisation_equals_decoding(axis: int | None) -> None:
    tensor = torch.randn(4, 5, 3, 3).to(memory_format=torch.channels_last)
    quantised = fake_quantize(tensor, 32, axis)
    decoded = dequantize(quantize(tensor, 32, axis), tuple(tensor.shape), axis)
    torch.testing.assert_close(quantised, decoded, atol=1e-5, rtol=1e-5)
    assert quantised.is_contiguous(memory_format=torch.channels_last)


def test_a_constant_tensor_is_exact() -> None:
    tensor = torch.full((3, 4), 0.1)
    assert torch.equal(dequantize(quantize(tensor, 16, None), (3, 4), None), tensor)
    assert torch.equal(fake_quantize(tensor, 16, 0), tensor)


def test_min_max_quantisation_is_eq_3_as_corrected() -> None:
    quantized = quantize(torch.tensor([-1.0, 0.1, 1.0]), 4, None)
    assert quantized.symbols.tolist() == [0, 2, 3]  # (0.1 + 1) / (2 / 3) = 1.65


@settings(max_examples=500)
@given(tensors, st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_a_learned_grid_is_kept_and_is_stable(values: np.ndarray, size: float, offset: float) -> None:
    tensor, step = torch.from_numpy(values), QuantizationStep(size, offset)
    once = quantize_by(tensor, step)
    decoded = dequantize(once, tuple(tensor.shape), None)
    assert 2 <= once.levels <= 2**12
    coarsest = max(size, (values.max() - values.min()) / (2**12 - 2))  # no more levels than there may be
    assert (decoded.double() - tensor.double()).abs().max() <= coarsest / 2 + 1e-6 * (abs(offset) + abs(values).max())
    if coarsest == size:
        assert np.array_equal(once.symbols, quantize_by(decoded, step).symbols)


def test_a_learned_grid_may_exclude_the_extremes() -> None:
    quantized = quantize_by(torch.tensor([-1.0, 0.1, 1.0]), QuantizationStep(0.75, 0.25))
    assert quantized.symbols.tolist() == [0, 2, 3]
    assert quantized.levels == 4
    assert (quantized.low.tolist(), quantized.high.tolist()) == ([-1.25], [1.0])
