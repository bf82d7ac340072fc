"""Symbols told by how they differ from their neighbours, where neighbours are alike.

Frames follow one another, and so do their latents and embeddings; a grid's points lie side by side. Differences are
taken modulo the number of levels, so there are no more symbols than before. Whole numbers only: exact everywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int32]


MOST_DIAGONALS = 2**14  # of all tables of a file that "around" restores: a bound on the time a hostile file takes
WORTHWHILE = 0.99  # of the entropy: noise may look a little predictable by chance


class Prediction(NamedTuple):
    """`take` turns symbols (a, b, …) into differences, `restore` turns these back; both modulo `levels`."""

    take: Callable[[Symbols, int], Symbols]
    restore: Callable[[Symbols, int], Symbols]


def _from_before(symbols: Symbols, levels: int) -> Symbols:
    return np.diff(symbols, axis=0, prepend=np.zeros_like(symbols[:1])) % levels


def _onto_before(differences: Symbols, levels: int) -> Symbols:
    return (np.cumsum(differences, axis=0, dtype=np.int64) % levels).astype(np.int32)


def _from_around(symbols: Symbols, levels: int) -> Symbols:
    guess = np.zeros_like(symbols)
    guess[1:, 1:] = (symbols[:-1, 1:] + symbols[1:, :-1]) // 2
    guess[0, 1:], guess[1:, 0] = symbols[0, :-1], symbols[:-1, 0]
    return (symbols - guess) % levels


def _onto_around(differences: Symbols, levels: int) -> Symbols:
    rows, columns = differences.shape[:2]
    symbols = differences.copy()
    # Along the rising diagonals: all points of one need only those of the one before.
    for diagonal in range(1, rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        above, left = symbols[np.maximum(row - 1, 0), column], symbols[row, np.maximum(column - 1, 0)]
        edge = (slice(None), *[None] * (symbols.ndim - 2))
        guess = np.where((row == 0)[edge], left, np.where((column == 0)[edge], above, (above + left) // 2))
        symbols[row, column] = (symbols[row, column] + guess) % levels
    return symbols


PREDICTIONS: Mapping[str, Prediction] = {
    "before": Prediction(_from_before, _onto_before),  # the neighbour before, along the first axis
    "around": Prediction(_from_around, _onto_around),  # the mean of those before along the first two axes
}


def diagonals(shapes: Iterable[tuple[int, ...]]) -> int:
    """Along which "around" restores tables of these shapes, one after the other."""
    return sum(sum(shape[:2]) for shape in shapes)


def applies(name: str, shape: tuple[int, ...]) -> bool:
    """Whether symbols of this shape may be told by that prediction."""
    return name in PREDICTIONS and len(shape) > 1


def cheapest(symbols: Symbols, levels: int, diagonals_left: int) -> tuple[str | None, Symbols]:
    """The prediction whose differences have the least entropy, and them; None and `symbols` if none helps.

    "around" is none where it takes more than `diagonals_left`.
    """
    best: tuple[str | None, Symbols] = (None, symbols)
    least = _entropy(symbols)
    for name, prediction in PREDICTIONS.items():
        if not applies(name, symbols.shape) or (name == "around" and diagonals([symbols.shape]) > diagonals_left):
            continue
        differences = prediction.take(symbols, levels)
        if (entropy := _entropy(differences)) < WORTHWHILE * least:
            best, least = (name, differences), entropy
    return best


def _entropy(symbols: Symbols) -> float:
    """Bits of one symbol, on average."""
    counts = np.bincount(symbols.ravel())
    share = counts[counts > 0] / symbols.size
    return float(-(share * np.log2(share)).sum())
