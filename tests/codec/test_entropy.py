import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_inr.codec.entropy import CODERS, TOTAL, frequency_table, valid_table

runs = st.lists(
    st.integers(1, 8).flatmap(
        lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=300))
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("coder", list(CODERS))
@given(runs=runs)
def test_round_trip(coder: str, runs: list[tuple[int, list[int]]]) -> None:
    coded = []
    for bits, values in runs:
        symbols = np.array(values, dtype=np.int32)
        coded.append((symbols, frequency_table(symbols, 2**bits)))
    words = CODERS[coder].encode(coded)
    decoded = CODERS[coder].decode(words, [(len(symbols), table) for symbols, table in coded])
    assert all(np.array_equal(a, b) for (a, _), b in zip(coded, decoded, strict=True))


@given(st.lists(st.integers(0, 255), min_size=1, max_size=2000))
def test_tables_are_sound(values: list[int]) -> None:
    symbols = np.array(values, dtype=np.int32)
    table = frequency_table(symbols, 256)
    assert valid_table(table)
    assert (table[symbols] > 0).all()


def test_range_coding_nears_the_entropy_and_huffman_is_not_far() -> None:
    symbols = np.clip(np.random.default_rng(0).laplace(32, 3, 50_000).round(), 0, 63).astype(np.int32)
    table = frequency_table(symbols, 64)
    share = np.bincount(symbols, minlength=64) / len(symbols)
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * len(symbols)
    bits = {name: 32 * len(coder.encode([(symbols, table)])) for name, coder in CODERS.items()}
    assert entropy <= bits["range"] < 1.005 * entropy
    assert bits["range"] < bits["huffman"] < 1.03 * entropy


def test_damaged_tables_are_refused() -> None:
    assert not valid_table(np.zeros(4, np.uint16))
    assert not valid_table(np.full(4, TOTAL // 4 + 1, np.uint16))
