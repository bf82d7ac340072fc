"""Prediction of symbols from adjacent symbols, and coding of the differences.

Latents and embeddings of consecutive frames are similar, and so are adjacent points of a grid. Differences are taken
modulo the number of levels, so that the alphabet does not grow. Whole numbers only: exact on every machine.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int32]


MOST_DIAGONALS = 2**14  # of all tensors of a file that "around" restores: limits the time a hostile file takes
WORTHWHILE = 0.99  # of the entropy: smaller savings may occur by chance, even in noise


class Prediction(NamedTuple):
    """`difference` converts symbols (a, b, …) to differences, `restore` converts them back; both modulo `levels`."""

    difference: Callable[[Symbols, int], Symbols]
    restore: Callable[[Symbols, int], Symbols]


def _differences_before(symbols: Symbols, levels: int) -> Symbols:
    return np.diff(symbols, axis=0, prepend=np.zeros_like(symbols[:1])) % levels


def _restore_before(differences: Symbols, levels: int) -> Symbols:
    return (np.cumsum(differences, axis=0, dtype=np.int64) % levels).astype(np.int32)


def _differences_around(symbols: Symbols, levels: int) -> Symbols:
    predicted = np.zeros_like(symbols)
    predicted[1:, 1:] = (symbols[:-1, 1:] + symbols[1:, :-1]) // 2
    predicted[0, 1:], predicted[1:, 0] = symbols[0, :-1], symbols[:-1, 0]
    return (symbols - predicted) % levels


def _restore_around(differences: Symbols, levels: int) -> Symbols:
    rows, columns = differences.shape[:2]
    symbols = differences.copy()
    # Along the rising diagonals: the points of one depend only on those of the one before.
    for diagonal in range(1, rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        above, left = symbols[np.maximum(row - 1, 0), column], symbols[row, np.maximum(column - 1, 0)]
        edge = (slice(None), *[None] * (symbols.ndim - 2))
        predicted = np.where((row == 0)[edge], left, np.where((column == 0)[edge], above, (above + left) // 2))
        symbols[row, column] = (symbols[row, column] + predicted) % levels
    return symbols


PREDICTIONS: Mapping[str, Prediction] = {
    # The symbol before along the first axis.
    "before": Prediction(_differences_before, _restore_before),
    # The mean of the symbols before along the first two axes.
    "around": Prediction(_differences_around, _restore_around),
}


def diagonals(shapes: Iterable[tuple[int, ...]]) -> int:
    """The number of diagonals along which "around" restores tensors of these shapes, one after the other."""
    return sum(sum(shape[:2]) for shape in shapes)


def is_applicable(name: str, shape: tuple[int, ...]) -> bool:
    """Whether the prediction `name` exists and can be used for symbols of this shape."""
    return name in PREDICTIONS and len(shape) > 1


def best_prediction(symbols: Symbols, levels: int, diagonals_left: int) -> tuple[str | None, Symbols]:
    """The prediction whose differences have the least entropy, and these; None and `symbols` if none is better.

    "around" is not used where it needs more than `diagonals_left`.
    """
    best: tuple[str | None, Symbols] = (None, symbols)
    least = _entropy(symbols)
    for name, prediction in PREDICTIONS.items():
        if not is_applicable(name, symbols.shape) or (name == "around" and diagonals([symbols.shape]) > diagonals_left):
            continue
        differences = prediction.difference(symbols, levels)
        if (entropy := _entropy(differences)) < WORTHWHILE * least:
            best, least = (name, differences), entropy
    return best


def _entropy(symbols: Symbols) -> float:
    """Mean bits per symbol."""
    counts = np.bincount(symbols.ravel())
    share = counts[counts > 0] / symbols.size
    return float(-(share * np.log2(share)).sum())
