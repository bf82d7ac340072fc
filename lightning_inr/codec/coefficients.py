"""Coding of a grid over time: transformed, quantised with one step, entropy-coded with context modelling.

A file holds for each grid: the value of its largest magnitude (f2), that magnitude in steps (u2), and for each
context two bytes: the share of symbols that are not zero, and the decay of their magnitudes (a two-sided geometric
density).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_inr.codec.contexts import (
    CAP,
    CONTEXTS,
    all_positions,
    coded_magnitudes,
    contexts,
    positions_by_frequency,
    zero_magnitudes,
)
from lightning_inr.codec.entropy import TOTAL, Reader, Symbols, Table
from lightning_inr.codec.transform import from_coefficients, to_coefficients
from lightning_inr.types import GridLayout

LARGEST = 65504.0  # finite value of half precision
MOST_STEPS = 2**11 - 1  # the largest magnitude of a symbol
PARAMETERS = np.dtype([("high", "<f2"), ("most", "<u2"), ("alive", "u1", CONTEXTS), ("decay", "u1", CONTEXTS)])
HALVING = 20  # steps of the byte `alive` that halve the share of symbols that are not zero


def _shares() -> list[int]:
    """The share, in units of 2^-32, for each byte `alive`: times 2^(-1/20) per step, in whole numbers."""
    shares = [2**32 - 1]
    while len(shares) < 256:
        shares.append(shares[-1] * 4148664943 >> 32)  # 2^32 * 2^(-1/20)
    return shares


NONZERO_SHARES = _shares()


class Coefficients(NamedTuple):
    """Symbols (slices, channels, rows, columns) int32, signed; `high` is the value of the symbol `most`."""

    symbols: Symbols
    high: float
    most: int


def quantize_table(table: Tensor, layout: GridLayout, size: float | None, levels: int) -> Coefficients:
    """The coefficients of a grid in steps of `size`; None: the step with which all fit into `levels` symbols."""
    values = to_coefficients(table.cpu(), layout).double().numpy()
    largest = float(np.abs(values).max())
    least = largest / MOST_STEPS if size else largest / max(1, (levels - 1) // 2)
    step = max(size or 0.0, least)
    most = round(largest / step) if step else 0
    if not most:
        return Coefficients(np.zeros(values.shape, np.int32), 0.0, 0)
    # Rounded to half precision: a decoded grid then has the same `high`, and encodes to the same symbols.
    high = float(np.float16(min(largest if size is None else most * step, LARGEST)))
    if not high or not np.isfinite(high):
        return Coefficients(np.zeros(values.shape, np.int32), 0.0, 0)
    symbols = np.rint(values * (most / high)).clip(-most, most).astype(np.int32)
    return Coefficients(symbols, high, most)


def dequantize_table(coefficients: Coefficients, layout: GridLayout) -> Tensor:
    """The grid (slices, rows * columns, channels) that the coefficients represent."""
    size = coefficients.high / max(1, coefficients.most)
    return from_coefficients(torch.from_numpy(coefficients.symbols).float() * size, layout)


def rounding_error(table: Tensor, layout: GridLayout, size: float | None, levels: int) -> Tensor:
    """The quantisation error of each number of a grid, on its device: for training."""
    values = to_coefficients(table, layout)
    step = max(size, 1e-9) if size else (values.abs().max() / max(1, (levels - 1) // 2)).clamp_min(1e-9)
    return from_coefficients(torch.round(values / step) * step - values, layout).view_as(table)


def parameters_of(coefficients: Coefficients, layout: GridLayout) -> NDArray[np.void]:
    """The parameters of a grid that a file stores besides its symbols, of type PARAMETERS."""
    parameters = np.zeros((), PARAMETERS)
    parameters["high"], parameters["most"] = coefficients.high, coefficients.most
    if coefficients.most:
        _fit(parameters, _in_file_order(coefficients.symbols).ravel(), _contexts(coefficients, layout).ravel())
    return parameters


def runs_of(
    coefficients: Coefficients, parameters: NDArray[np.void], layout: GridLayout
) -> Iterator[tuple[Symbols, Table]]:
    """The symbols, shifted to start at zero, in decoding order: runs, each with its table of counts."""
    if not coefficients.most:
        return
    planes, chosen = _in_file_order(coefficients.symbols) + coefficients.most, _contexts(coefficients, layout)
    for where in positions_by_frequency(layout):
        here = where.here.numpy()
        run = planes[here].ravel()
        for table, picked in _tables(parameters, chosen[here].ravel()):
            yield run[picked], table


def read_table(parameters: NDArray[np.void], layout: GridLayout, reader: Reader) -> Coefficients:
    """Decode what `runs_of` gave; ValueError if the parameters are not valid."""
    high, most = float(parameters["high"]), int(parameters["most"])
    if not np.isfinite(high) or high < 0 or most > MOST_STEPS:
        raise ValueError(f"a largest coefficient of {high} in {most} steps")
    planes = np.zeros((layout.rows * layout.columns, layout.slices, layout.channels), np.int32)
    decoded = zero_magnitudes(layout)
    for height, where in enumerate(positions_by_frequency(layout) if most else ()):
        chosen = contexts(decoded, where).numpy()
        values = np.empty(chosen.size, np.int32)
        for table, picked in _tables(parameters, chosen.ravel()):
            values[picked] = reader.take(len(picked), table) - most
        here = where.here.numpy()
        planes[here] = values.reshape(chosen.shape)
        if height:  # the mean of a block is no context for others
            decoded.numpy()[here] = np.minimum(np.abs(planes[here]), CAP)
    symbols = planes.transpose(1, 2, 0).reshape(layout.slices, layout.channels, layout.rows, layout.columns)
    return Coefficients(np.ascontiguousarray(symbols), high, most)


def _in_file_order(symbols: Symbols) -> Symbols:
    """(slices, channels, rows, columns) -> (rows * columns, slices, channels), the order of a file."""
    return np.ascontiguousarray(symbols.reshape(*symbols.shape[:2], -1).transpose(2, 0, 1))


def _contexts(coefficients: Coefficients, layout: GridLayout) -> NDArray[np.uint8]:
    """The contexts of all symbols, (rows * columns, slices, channels)."""
    magnitudes = torch.from_numpy(coefficients.symbols).abs()
    return contexts(coded_magnitudes(magnitudes, layout), all_positions(layout, magnitudes.device)).numpy()


def _tables(parameters: NDArray[np.void], chosen: NDArray[np.uint8]) -> Iterator[tuple[Table, NDArray[np.int64]]]:
    """For each context in `chosen`: its table of counts, and its indices in `chosen`."""
    order = np.argsort(chosen, kind="stable")  # NumPy sorts bytes by counting, without comparisons
    counts = np.bincount(chosen, minlength=CONTEXTS)
    for context, picked in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if len(picked):
            yield (
                _table(int(parameters["alive"][context]), int(parameters["decay"][context]), int(parameters["most"])),
                picked,
            )


def _fit(parameters: NDArray[np.void], symbols: Symbols, chosen: NDArray[np.uint8]) -> None:
    """Set the two bytes of each context to the values that fit its symbols best."""
    magnitudes = np.abs(symbols)
    counts = np.bincount(chosen, minlength=CONTEXTS)
    alive = np.bincount(chosen, magnitudes > 0, minlength=CONTEXTS)
    total = np.bincount(chosen, magnitudes, minlength=CONTEXTS)
    share = (alive + 0.3) / (counts + 0.6)
    decay = 1 - (alive + 0.3) / (total + 0.6)
    used = counts > 0
    parameters["alive"][:] = np.where(used, np.clip(np.rint(-HALVING * np.log2(share)), 0, 255), 0)
    parameters["decay"][:] = np.where(used, np.clip(np.rint(256 * decay), 0, 255), 0)


@lru_cache(maxsize=4096)
def _table(alive: int, decay: int, most: int) -> Table:
    """Counts of the symbols -most … most, with total 2^16, in whole numbers: identical on every machine."""
    budget = TOTAL - (2 * most + 1)  # every symbol has a count of at least one
    weights = [0] * (most + 1)
    rest = (budget * NONZERO_SHARES[alive]) >> 33  # for each side of zero
    for magnitude in range(1, most + 1):
        share = (rest * (256 - decay)) >> 8
        if not share or magnitude == most:
            weights[most] = rest
            break
        weights[magnitude] = share
        rest -= share
    counts = np.ones(2 * most + 1, np.int64)
    counts[most:] += weights
    counts[:most] += weights[:0:-1]
    counts[most] += TOTAL - counts.sum()
    return counts.astype(np.uint16)
