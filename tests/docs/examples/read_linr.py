"""A reader of `.linr` files written from docs/format.md alone: NumPy, no package of this project, no constriction.

python tests/docs/examples/read_linr.py video.linr
"""

import heapq
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
TOTAL = 2**16


# --8<-- [start:segments]
def read_segments(data: bytes) -> list[tuple[int, bytes]]:
    """The number of the first frame of each segment, and its file; of a file of version 2 or 3, the file itself."""
    _, version, length, crc = struct.unpack_from("<4sHII", data)
    if version != 4:
        return [(0, data)]
    packed = data[14 : 14 + length]
    assert zlib.crc32(data[:10] + packed) == crc
    header = json.loads(zlib.decompress(packed))
    segments, first, start = [], 0, 14 + length
    for frames, size, checksum in header["segments"]:
        segments.append((first, data[start : start + size]))
        assert struct.unpack_from("<I", data, start + 10)[0] == checksum
        first, start = first + frames, start + size
    assert (first, start) == (header["video"]["frames"], len(data))
    return segments


# --8<-- [end:segments]


# --8<-- [start:container]
def read_container(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header, and the bytes of each section."""
    magic, version, length, crc = struct.unpack_from("<4sHII", data)
    assert magic == b"LINR"
    assert version in (2, 3)
    packed = data[14 : 14 + length]
    assert zlib.crc32(data[:10] + packed) == crc
    header = json.loads(zlib.decompress(packed))
    sections, start = {}, 14 + length
    for role, size, checksum in header["sections"]:
        sections[role] = data[start : start + size]
        assert zlib.crc32(sections[role]) == checksum
        start += size
    assert start == len(data)
    return header, sections


# --8<-- [end:container]


# --8<-- [start:section]
def read_section(section: bytes, entries: list[list[Any]]) -> dict[str, Array]:
    """The tensors of one role, `entries` in the order of the header's table."""
    (length,) = struct.unpack_from("<I", section)
    side = zlib.decompress(section[4 : 4 + length])
    words = np.frombuffer(section[4 + length :], "<u4").tolist()
    coders = {entry[6] for entry in entries} - {None}
    take = {"range": range_decoder, "huffman": huffman_decoder}[coders.pop()](words) if coders else None
    tensors, at = {}, 0
    for name, _, shape, levels, bits, axis, _, prediction, layout in [(*entry, None, None)[:9] for entry in entries]:
        count = int(np.prod(shape))
        if levels is None:
            kind = {16: "<f2", 32: "<f4"}[bits]
            tensors[name] = np.frombuffer(side, kind, count, at).astype(np.float32).reshape(shape)
            at += count * bits // 8
            continue
        assert take is not None
        if layout is not None:
            tensors[name] = read_table(side[at : at + 96], layout, take).reshape(shape).astype(np.float32)
            at += 96
            continue
        ranges = 1 if axis is None else shape[axis]
        low, high = np.frombuffer(side, "<f4", 2 * ranges, at).astype(np.float64).reshape(2, ranges, 1)
        codes = list(side[at + 8 * ranges : at + 8 * ranges + levels])
        at += 8 * ranges + levels
        symbols = np.array(take(count, counts_of(codes)))
        if prediction is not None:
            symbols = undo_prediction(prediction, symbols.reshape(shape), levels)
        unit = symbols.reshape(ranges, -1) / (levels - 1)
        values = (low * (1 - unit) + high * unit).astype(np.float32)
        if axis is not None:
            values = np.moveaxis(values.reshape(shape[axis], *shape[:axis], *shape[axis + 1 :]), 0, axis)
        tensors[name] = values.reshape(shape)
    assert at == len(side)
    return tensors


# --8<-- [end:section]


# --8<-- [start:counts]
def counts_of(codes: list[int]) -> list[int]:
    """The count of each symbol, of a total of 2^16, from one byte each."""
    counts = np.array([code if code < 16 else (16 + code % 16) << (code // 16 - 1) for code in codes])
    shared = TOTAL - 1 - np.count_nonzero(counts)
    scaled = np.where(counts > 0, 1 + counts * shared // counts.sum(), 0)
    scaled[np.argmax(scaled)] += TOTAL - 1 - scaled.sum()  # the first of the largest
    scaled[np.argmin(scaled)] += 1  # the first of the smallest
    return [int(count) for count in scaled]


# --8<-- [end:counts]


# --8<-- [start:range]
def range_decoder(words: list[int]) -> Callable[[int, list[int]], list[int]]:
    """Words of 32 bits -> a function that decodes the next so many symbols under a table of counts."""
    queue = iter(words)
    state = {"lower": 0, "range": 2**64 - 1, "point": next(queue, 0) << 32 | next(queue, 0)}

    def take(number: int, counts: list[int]) -> list[int]:
        # Of a total of 2^24: each symbol has 1, and the rest is shared in proportion to the counts, rounded down.
        scale = (2**24 - len(counts)) / 1.0
        bounds = [0]
        sums = 0.0
        for place, count in enumerate(counts, start=1):
            sums += count / TOTAL
            bounds.append(int(sums * scale) + place)
        bounds[-1] = 2**24
        edges = np.array(bounds)
        symbols = []
        for _ in range(number):
            unit = state["range"] >> 24
            place = ((state["point"] - state["lower"]) % 2**64) // unit
            symbol = int(np.searchsorted(edges, place, side="right")) - 1
            state["lower"] = (state["lower"] + unit * bounds[symbol]) % 2**64
            state["range"] = unit * (bounds[symbol + 1] - bounds[symbol])
            if state["range"] < 2**32:
                state["lower"] = state["lower"] << 32 & 2**64 - 1
                state["range"] <<= 32
                state["point"] = (state["point"] << 32 & 2**64 - 1) | next(queue, 0)
            symbols.append(symbol)
        return symbols

    return take


# --8<-- [end:range]


# --8<-- [start:huffman]
def huffman_decoder(words: list[int]) -> Callable[[int, list[int]], list[int]]:
    """The same for Huffman codes; the first bit is the least significant one of the first word."""
    bits = (word >> place & 1 for word in words for place in range(32))

    def take(number: int, counts: list[int]) -> list[int]:
        heap = [(count, place) for place, count in enumerate(counts)]
        heapq.heapify(heap)
        children: dict[int, tuple[int, int]] = {}
        while len(heap) > 1:  # the two rarest become one node; of equal ones, those that are older
            (first, left), (second, right) = heapq.heappop(heap), heapq.heappop(heap)
            node = len(counts) + len(children)
            children[node] = left, right
            heapq.heappush(heap, (first + second, node))
        symbols = []
        for _ in range(number):
            node = heap[0][1]
            while node in children:
                node = children[node][next(bits)]
            symbols.append(node)
        return symbols

    return take


# --8<-- [end:huffman]


# --8<-- [start:prediction]
def undo_prediction(name: str, symbols: Array, levels: int) -> Array:
    """Symbols from their differences."""
    if name == "before":
        return np.cumsum(symbols, axis=0) % levels
    assert name == "around"
    for row in range(symbols.shape[0]):
        for column in range(symbols.shape[1]):
            if row and column:
                guess = (symbols[row - 1, column] + symbols[row, column - 1]) // 2
            else:
                guess = symbols[row - 1, column] if row else symbols[row, column - 1] if column else 0
            symbols[row, column] = (symbols[row, column] + guess) % levels
    return symbols


# --8<-- [end:prediction]


# --8<-- [start:blocks]
def even(length: int, count: int) -> list[int]:
    """`length` in `count` parts."""
    return [length * (number + 1) // count - length * number // count for number in range(count)]


def in_space(length: int) -> list[int]:
    """Sizes of the blocks of rows or columns."""
    return even(length, max(1, round(length / 8)))  # Python rounds halves to even


def in_time(groups: list[int]) -> list[int]:
    """Sizes of the blocks of slices."""
    return [size for group in groups for size in even(group, -(-group // 64))]


def frequencies(sizes: list[int]) -> list[int]:
    """The frequency of each place within its block."""
    return [place for size in sizes for place in range(size)]


# --8<-- [end:blocks]


# --8<-- [start:table]
def read_table(side: bytes, layout: list[Any], take: Callable[[int, list[int]], list[int]]) -> Array:
    """A table over time, (slices, rows * columns, channels), from its 96 bytes and its symbols."""
    groups, rows, columns, channels = layout
    high, most = struct.unpack_from("<eH", side)
    alive, decay = side[4:50], side[50:96]
    slices = sum(groups)
    symbols = np.zeros((rows * columns, slices, channels), np.int64)
    if most:
        down, along = np.array(frequencies(in_space(rows))), np.array(frequencies(in_space(columns)))
        height = (down[:, None] + along).ravel()
        known = np.zeros((rows * columns, slices, channels), np.int64)
        for frequency in range(height.max() + 1):
            places = np.flatnonzero(height == frequency)
            chosen = np.array([contexts_of(int(place), known, layout) for place in places])
            values = np.zeros(chosen.shape, np.int64)
            for context in np.unique(chosen):
                where = chosen == context
                counts = coefficient_counts(alive[context], decay[context], most)
                values[where] = np.array(take(int(where.sum()), counts)) - most
            symbols[places] = values
            if frequency:
                known[places] = np.minimum(np.abs(values), 15)
    return inverse_transform(symbols * (high / max(1, most)), layout)


def contexts_of(place: int, known: Array, layout: list[Any]) -> Array:
    """The contexts of one place, (slices, channels), from the magnitudes of lower frequencies."""
    groups, rows, columns, channels = layout
    row, column = divmod(place, columns)
    time = np.array(frequencies(in_time(groups)))[:, None]
    down, along = frequencies(in_space(rows))[row], frequencies(in_space(columns))[column]
    if down + along == 0:
        distance = block_of(in_space(rows), row) + block_of(in_space(columns), column)
        base = 2 * sum(distance >= bound for bound in (1, 3, 7)) + (time > 0)
    elif down + along == 1:
        base = 8 + np.minimum(time, 5)
    else:
        base = 14 + 8 * sum(down + along >= bound for bound in (3, 5, 8)) + 0 * time
        above, left, corner, far_above, far_left = (
            known[(row - up) * columns + column - back] if down >= up and along >= back else 0 * known[0]
            for up, back in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
        )
        near = above + left
        activity = 2 * near + corner + far_above + far_left
        activity[1:] += near[:-1]
        activity[:-1] += near[1:]
        base = base + sum(activity >= bound for bound in (1, 2, 3, 5, 8, 13, 21))
    contexts: Array = np.broadcast_to(base, (time.size, channels))
    return contexts


def block_of(sizes: list[int], place: int) -> int:
    """The number of the block in which a row or column lies."""
    return int(np.searchsorted(np.cumsum(sizes), place, side="right"))


def coefficient_counts(alive: int, decay: int, most: int) -> list[int]:
    """Counts of the symbols −most … most."""
    share = 2**32 - 1
    for _ in range(alive):
        share = share * 4148664943 >> 32
    rest = (TOTAL - (2 * most + 1)) * share >> 33
    weights = [0] * (most + 1)
    for magnitude in range(1, most + 1):
        part = rest * (256 - decay) >> 8
        if not part or magnitude == most:
            weights[most] = rest
            break
        weights[magnitude] = part
        rest -= part
    counts = [1 + weights[abs(symbol)] for symbol in range(-most, most + 1)]
    counts[most] += TOTAL - sum(counts)
    return counts


# --8<-- [end:table]


# --8<-- [start:transform]
def inverse_transform(symbols: Array, layout: list[Any]) -> Array:
    """Coefficients (rows * columns, slices, channels) -> the table (slices, rows * columns, channels)."""
    groups, rows, columns, channels = layout
    blocks = in_space(rows), in_space(columns)
    planes = symbols.reshape(rows, columns, *symbols.shape[1:]).transpose(2, 3, 0, 1)  # slices, channels, rows, columns
    corners = np.ix_(*([sum(sizes[:number]) for number in range(len(sizes))] for sizes in blocks))
    means = planes[:, :, corners[0], corners[1]]
    planes[:, :, corners[0], corners[1]] = cosines(len(blocks[0])).T @ means @ cosines(len(blocks[1]))
    for axis, sizes in ((0, in_time(groups)), (2, blocks[0]), (3, blocks[1])):
        start = 0
        for size in sizes:
            where = np.arange(start, start + size)
            part = np.moveaxis(np.take(planes, where, axis), axis, 0)
            result = np.moveaxis(np.tensordot(cosines(size).T, part, axes=1), 0, axis)
            np.moveaxis(planes, axis, 0)[where] = np.moveaxis(result, axis, 0)
            start += size
    return planes.transpose(0, 2, 3, 1).reshape(sum(groups), rows * columns, channels)


def cosines(size: int) -> Array:
    """DCT-II, orthonormal, a frequency a row."""
    frequency, place = np.arange(size)[:, None], np.arange(size) + 0.5
    matrix: Array = np.sqrt(2 / size) * np.cos(np.pi / size * frequency * place)
    matrix[0] = 1 / np.sqrt(size)
    return matrix


# --8<-- [end:transform]


def read_linr(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The header and all tensors."""
    header, sections = read_container(data)
    tensors: dict[str, Array] = {}
    for role, section in sections.items():
        tensors |= read_section(section, [entry for entry in header["tensors"] if entry[1] == role])
    return header, tensors


def lines(data: bytes) -> Iterator[str]:
    """What `main` prints."""
    header, tensors = read_linr(data)
    yield json.dumps({key: value for key, value in header.items() if key != "tensors"}, indent=1)
    for name, tensor in tensors.items():
        yield f"{name} {tensor.shape} from {tensor.min():.6f} to {tensor.max():.6f}"


if __name__ == "__main__":
    print("\n".join(lines(Path(sys.argv[1]).read_bytes())))
