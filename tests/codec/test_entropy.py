import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_inr.codec.entropy import CODERS, TOTAL, Table, count_codes, table_of

runs = st.lists(
    st.integers(1, 8).flatmap(
        lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=300))
    ),
    min_size=1,
    max_size=4,
)


def frequency_table(symbols: np.ndarray, alphabet: int) -> Table:
    return table_of(count_codes(symbols, alphabet))


@pytest.mark.parametrize("coder", list(CODERS))
@given(runs=runs)
def test_round_trip(coder: str, runs: list[tuple[int, list[int]]]) -> None:
    coded = []
    for bits, values in runs:
        symbols = np.array(values, dtype=np.int32)
        coded.append((symbols, frequency_table(symbols, 2**bits)))
    words = CODERS[coder].encode(coded)
    reader = CODERS[coder].open(words)
    assert all(np.array_equal(symbols, reader.take(len(symbols), table)) for symbols, table in coded)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=2000))
def test_tables_are_valid(values: list[int]) -> None:
    symbols = np.array(values, dtype=np.int32)
    table = frequency_table(symbols, 256)
    assert table.sum(dtype=np.int64) == TOTAL
    assert (table[symbols] > 0).all()


def test_code_lengths_are_close_to_the_entropy() -> None:
    symbols = np.clip(np.random.default_rng(0).laplace(32, 3, 50_000).round(), 0, 63).astype(np.int32)
    table = frequency_table(symbols, 64)
    share = np.bincount(symbols, minlength=64) / len(symbols)
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * len(symbols)
    bits = {name: 32 * len(coder.encode([(symbols, table)])) for name, coder in CODERS.items()}
    assert entropy <= bits["range"] < 1.005 * entropy
    assert bits["range"] < bits["huffman"] < 1.03 * entropy


@given(st.lists(st.integers(0, 255), min_size=2, max_size=4096))
def test_any_nonzero_bytes_are_a_valid_table(codes: list[int]) -> None:
    if not any(codes):
        with pytest.raises(ValueError, match="empty"):
            table_of(np.array(codes, dtype=np.uint8))
        return
    table = table_of(np.array(codes, dtype=np.uint8)).astype(np.int64)
    assert table.sum() == TOTAL
    assert (table[np.array(codes) > 0] > 0).all()


def test_the_error_of_a_count_is_at_most_a_thirtieth() -> None:
    symbols = np.repeat(np.arange(5), [1, 10, 100, 1000, 10_000]).astype(np.int32)
    share = table_of(count_codes(symbols, 5)) / TOTAL
    np.testing.assert_allclose(share[1:], np.array([10, 100, 1000, 10_000]) / 11_111, rtol=0.05)
