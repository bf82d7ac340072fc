import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lightning_inr.codec.prediction import PREDICTIONS, best_prediction, is_applicable

levels = st.integers(2, 300)


@pytest.mark.parametrize("name", list(PREDICTIONS))
@settings(max_examples=200)
@given(shape=array_shapes(min_dims=2, max_dims=4, max_side=7), levels=levels, data=st.data())
def test_differences_are_restored_to_symbols(
    name: str, shape: tuple[int, ...], levels: int, data: st.DataObject
) -> None:
    symbols = data.draw(arrays(np.int32, shape, elements=st.integers(0, levels - 1)))
    differences = PREDICTIONS[name].difference(symbols, levels)
    assert differences.min() >= 0
    assert differences.max() < levels
    restored = PREDICTIONS[name].restore(differences.astype(np.int32), levels)
    assert restored.dtype == np.int32
    assert np.array_equal(restored, symbols)


def test_smooth_symbols_are_predicted_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:60, 0:80]
    plane = (100 + 60 * np.sin(y / 9) * np.cos(x / 11) + rng.normal(0, 0.3, y.shape)).round().astype(np.int32)
    assert best_prediction(plane[:, :, None], 256, 1000)[0] == "around"
    walk = np.cumsum(rng.integers(-1, 2, (50, 40)), axis=0, dtype=np.int32) + 128
    assert best_prediction(plane[:, :, None], 256, 10)[0] == "before"
    assert best_prediction(walk, 256, 1000)[0] == "before"
    assert best_prediction(rng.integers(0, 256, (50, 40), dtype=np.int32), 256, 1000)[0] is None


def test_applicable_predictions() -> None:
    assert is_applicable("around", (180, 320, 4))
    assert is_applicable("before", (2**24, 1))
    assert not is_applicable("before", (5,))
    assert not is_applicable("oracle", (5, 5))
