"""Lossless coding of symbols with `constriction`, under tables of integers.

A table holds how often each symbol occurs, scaled to a total of 2^16. Divided by that total the counts are
exact in floating point, so encoder and decoder see the same numbers on every platform.
"""

from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int32]
Table = NDArray[np.uint16]
Words = NDArray[np.uint32]

TOTAL = 2**16


class Coder(Protocol):
    """One way to turn runs of symbols, each run with its own table, into 32-bit words."""

    def encode(self, runs: list[tuple[Symbols, Table]]) -> Words: ...

    def decode(self, words: Words, runs: list[tuple[int, Table]]) -> list[Symbols]: ...


def frequency_table(symbols: Symbols, alphabet: int) -> Table:
    """Counts (alphabet,) that sum to 2^16; a symbol that occurs has at least 1.

    ValueError if the alphabet does not fit the total.
    """
    if alphabet > TOTAL // 4:
        raise ValueError(f"alphabet of {alphabet} symbols: at most {TOTAL // 4}")
    counts = np.bincount(symbols, minlength=alphabet).astype(np.int64)
    # 65535 is the most a uint16 holds: a table of one symbol leaves the last place to a neighbour.
    scaled = np.where(counts > 0, np.maximum(1, counts * (TOTAL - 1) // max(1, counts.sum())), 0)
    scaled[np.argmax(scaled)] += TOTAL - 1 - scaled.sum()
    scaled[np.argmin(scaled)] += 1
    return scaled.astype(np.uint16)


def valid_table(table: Table) -> bool:
    """Whether a table read from a file can be coded with."""
    return len(table) >= 2 and int(table.sum(dtype=np.int64)) == TOTAL


class RangeCoder:
    """Range coding (Martin 1979): within a fraction of a percent of the entropy under the table."""

    def encode(self, runs: list[tuple[Symbols, Table]]) -> Words:
        """All runs, one after the other, in one stream."""
        encoder = constriction.stream.queue.RangeEncoder()
        for symbols, table in runs:
            encoder.encode(symbols, self._model(table))
        return encoder.get_compressed()

    def decode(self, words: Words, runs: list[tuple[int, Table]]) -> list[Symbols]:
        """The runs of `count` symbols each; damaged words give wrong symbols, never an error."""
        decoder = constriction.stream.queue.RangeDecoder(words)
        return [decoder.decode(self._model(table), count) for count, table in runs]

    @staticmethod
    def _model(table: Table) -> constriction.stream.model.Categorical:
        return constriction.stream.model.Categorical(table / np.float64(TOTAL), perfect=False)


class HuffmanCoder:
    """Huffman coding (1952), as in the paper: at least one bit a symbol, and symbol by symbol in Python."""

    def encode(self, runs: list[tuple[Symbols, Table]]) -> Words:
        """All runs, one after the other, in one stream."""
        encoder = constriction.symbol.QueueEncoder()
        for symbols, table in runs:
            tree = constriction.symbol.huffman.EncoderHuffmanTree(table.astype(np.float64))
            for symbol in symbols.tolist():
                encoder.encode_symbol(symbol, tree)
        return encoder.get_compressed()[0]

    def decode(self, words: Words, runs: list[tuple[int, Table]]) -> list[Symbols]:
        """The runs of `count` symbols each; ValueError if the words end too early."""
        decoder = constriction.symbol.QueueDecoder(words)
        decoded = []
        for count, table in runs:
            tree = constriction.symbol.huffman.DecoderHuffmanTree(table.astype(np.float64))
            decoded.append(np.array([decoder.decode_symbol(tree) for _ in range(count)], dtype=np.int32))
        return decoded


CODERS: dict[str, Coder] = {"range": RangeCoder(), "huffman": HuffmanCoder()}
