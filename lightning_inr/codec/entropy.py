"""Lossless coding of symbols with `constriction`, under tables of integers.

A table holds how often each symbol occurs, scaled to a total of 2^16. Divided by that total the counts are
exact in floating point, so encoder and decoder see the same numbers on every platform. A file holds a byte a
count, a float of four bits of exponent and four of mantissa: a thirtieth off at most, which costs nothing.
"""

from collections.abc import Iterable
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int32]
Table = NDArray[np.uint16]
Words = NDArray[np.uint32]
Codes = NDArray[np.uint8]

TOTAL = 2**16
# The count that each byte stands for: 0 … 31 as they are, then sixteen steps to each doubling.
CODED_COUNTS = np.array([code if code < 16 else (16 + code % 16) << (code // 16 - 1) for code in range(256)])


class Reader(Protocol):
    """Encoded words, read run by run: which table is next may depend on what was read."""

    def take(self, count: int, table: Table) -> Symbols: ...

    def exhausted(self) -> bool: ...


class Coder(Protocol):
    """One way to turn runs of symbols, each run with its own table, into 32-bit words."""

    def encode(self, runs: Iterable[tuple[Symbols, Table]]) -> Words: ...

    def open(self, words: Words) -> Reader: ...


def count_codes(symbols: Symbols, alphabet: int) -> Codes:
    """How often each of `alphabet` symbols occurs, a byte each: what a file holds of a table.

    ValueError if the alphabet does not fit the total.
    """
    if alphabet > TOTAL // 4:
        raise ValueError(f"alphabet of {alphabet} symbols: at most {TOTAL // 4}")
    counts = np.bincount(symbols, minlength=alphabet).astype(np.int64)
    scaled = np.where(counts > 0, np.maximum(1, counts * (TOTAL - 1) // max(1, counts.sum())), 0)
    above = np.searchsorted(CODED_COUNTS, scaled)
    nearer_below = (above > 0) & (scaled - CODED_COUNTS[above - 1] < CODED_COUNTS[above] - scaled)
    return np.where(nearer_below & (scaled > 1), above - 1, above).astype(np.uint8)


def table_of(codes: Codes) -> Table:
    """Counts (alphabet,) that sum to 2^16, the same on every platform: whole numbers only.

    ValueError if there are not enough codes, or all are zero.
    """
    if len(codes) < 2 or not codes.any():
        raise ValueError("a table of frequencies is empty")
    counts = CODED_COUNTS[codes]
    # 65535 is the most a uint16 holds: a table of one symbol leaves the last place to a neighbour.
    shared = TOTAL - 1 - np.count_nonzero(counts)  # what is left when each that occurs has its one
    scaled = np.where(counts > 0, 1 + counts * shared // counts.sum(), 0)
    scaled[np.argmax(scaled)] += TOTAL - 1 - scaled.sum()
    scaled[np.argmin(scaled)] += 1
    return scaled.astype(np.uint16)


class RangeCoder:
    """Range coding (Martin 1979): within a fraction of a percent of the entropy under the table."""

    def encode(self, runs: Iterable[tuple[Symbols, Table]]) -> Words:
        """All runs, one after the other, in one stream."""
        encoder = constriction.stream.queue.RangeEncoder()
        for symbols, table in runs:
            encoder.encode(symbols, _categorical(table))
        return encoder.get_compressed()

    def open(self, words: Words) -> "RangeReader":
        """From the first run on."""
        return RangeReader(words)


class RangeReader:
    """What `RangeCoder` wrote; damaged words give wrong symbols, never an error."""

    def __init__(self, words: Words) -> None:
        self.decoder = constriction.stream.queue.RangeDecoder(words)

    def take(self, count: int, table: Table) -> Symbols:
        """The next `count` symbols."""
        return self.decoder.decode(_categorical(table), count)

    def exhausted(self) -> bool:
        """Whether this may have been all."""
        return bool(self.decoder.maybe_exhausted())


def _categorical(table: Table) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(table / np.float64(TOTAL), perfect=False)


class HuffmanCoder:
    """Huffman coding (1952), as in the paper: at least one bit a symbol, and symbol by symbol in Python."""

    def encode(self, runs: Iterable[tuple[Symbols, Table]]) -> Words:
        """All runs, one after the other, in one stream."""
        encoder = constriction.symbol.QueueEncoder()
        for symbols, table in runs:
            tree = constriction.symbol.huffman.EncoderHuffmanTree(table.astype(np.float64))
            for symbol in symbols.tolist():
                encoder.encode_symbol(symbol, tree)
        return encoder.get_compressed()[0]

    def open(self, words: Words) -> "HuffmanReader":
        """From the first run on."""
        return HuffmanReader(words)


class HuffmanReader:
    """What `HuffmanCoder` wrote; ValueError if the words end too early."""

    def __init__(self, words: Words) -> None:
        self.decoder = constriction.symbol.QueueDecoder(words)

    def take(self, count: int, table: Table) -> Symbols:
        """The next `count` symbols."""
        tree = constriction.symbol.huffman.DecoderHuffmanTree(table.astype(np.float64))
        return np.array([self.decoder.decode_symbol(tree) for _ in range(count)], dtype=np.int32)

    def exhausted(self) -> bool:
        """Whether this may have been all: no whole word is left."""
        one_bit = constriction.symbol.huffman.DecoderHuffmanTree(np.ones(2))
        try:
            for _ in range(33):
                self.decoder.decode_symbol(one_bit)
        except (ValueError, AssertionError):
            return True
        return False


CODERS: dict[str, Coder] = {"range": RangeCoder(), "huffman": HuffmanCoder()}
