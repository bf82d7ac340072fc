"""Entropy coding of symbols with `constriction`, under tables of integer counts.

A table holds the count of each symbol, scaled to a total of 2^16. Divided by that total the counts are exact in
floating point, so encoder and decoder use the same numbers on every platform. A file holds one byte per count, a float
with four bits of exponent and four of mantissa: its error is at most a thirtieth, and its cost in bits negligible.
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
# The count that each byte represents: 0 … 31 exactly, then sixteen steps per doubling.
CODED_COUNTS = np.array([code if code < 16 else (16 + code % 16) << (code // 16 - 1) for code in range(256)])


class Reader(Protocol):
    """Reads encoded words run by run: the table of a run may depend on symbols read before."""

    def take(self, count: int, table: Table) -> Symbols: ...

    def exhausted(self) -> bool: ...


class Coder(Protocol):
    """Converts runs of symbols, each run with its own table, to 32-bit words."""

    def encode(self, runs: Iterable[tuple[Symbols, Table]]) -> Words: ...

    def open(self, words: Words) -> Reader: ...


def count_codes(symbols: Symbols, alphabet: int) -> Codes:
    """The count of each of `alphabet` symbols, coded as one byte each, as a file stores a table.

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
    # The largest uint16 is 65535: if only one symbol occurs, another one gets the remaining count.
    shared = TOTAL - 1 - np.count_nonzero(counts)  # what remains when each symbol that occurs has a count of one
    scaled = np.where(counts > 0, 1 + counts * shared // counts.sum(), 0)
    scaled[np.argmax(scaled)] += TOTAL - 1 - scaled.sum()
    scaled[np.argmin(scaled)] += 1
    return scaled.astype(np.uint16)


class RangeCoder:
    """Range coding (Martin 1979): its size is within a fraction of a percent of the entropy under the table."""

    def encode(self, runs: Iterable[tuple[Symbols, Table]]) -> Words:
        """Encode all runs, one after the other, into one stream."""
        encoder = constriction.stream.queue.RangeEncoder()
        for symbols, table in runs:
            encoder.encode(symbols, _categorical(table))
        return encoder.get_compressed()

    def open(self, words: Words) -> "RangeReader":
        """A reader that starts at the first run."""
        return RangeReader(words)


class RangeReader:
    """Reads what `RangeCoder` wrote; damaged words give wrong symbols, never an error."""

    def __init__(self, words: Words) -> None:
        self.decoder = constriction.stream.queue.RangeDecoder(words)

    def take(self, count: int, table: Table) -> Symbols:
        """The next `count` symbols."""
        return self.decoder.decode(_categorical(table), count)

    def exhausted(self) -> bool:
        """Whether all words may have been read."""
        return bool(self.decoder.maybe_exhausted())


def _categorical(table: Table) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(table / np.float64(TOTAL), perfect=False)


class HuffmanCoder:
    """Huffman coding (1952), as in Latent-INR: at least one bit per symbol, and symbol by symbol in Python."""

    def encode(self, runs: Iterable[tuple[Symbols, Table]]) -> Words:
        """Encode all runs, one after the other, into one stream."""
        encoder = constriction.symbol.QueueEncoder()
        for symbols, table in runs:
            tree = constriction.symbol.huffman.EncoderHuffmanTree(table.astype(np.float64))
            for symbol in symbols.tolist():
                encoder.encode_symbol(symbol, tree)
        return encoder.get_compressed()[0]

    def open(self, words: Words) -> "HuffmanReader":
        """A reader that starts at the first run."""
        return HuffmanReader(words)


class HuffmanReader:
    """Reads what `HuffmanCoder` wrote; ValueError if the words end too early."""

    def __init__(self, words: Words) -> None:
        self.decoder = constriction.symbol.QueueDecoder(words)

    def take(self, count: int, table: Table) -> Symbols:
        """The next `count` symbols."""
        tree = constriction.symbol.huffman.DecoderHuffmanTree(table.astype(np.float64))
        return np.array([self.decoder.decode_symbol(tree) for _ in range(count)], dtype=np.int32)

    def exhausted(self) -> bool:
        """Whether all words may have been read: no whole word remains."""
        one_bit = constriction.symbol.huffman.DecoderHuffmanTree(np.ones(2))
        try:
            for _ in range(33):
                self.decoder.decode_symbol(one_bit)
        except (ValueError, AssertionError):
            return True
        return False


CODERS: dict[str, Coder] = {"range": RangeCoder(), "huffman": HuffmanCoder()}
