"""The tensors of a file, packed for a page: about as small as in the file, and simple to read in a browser.

The codec's entropy coder is replaced by deflate, which browsers inflate. The symbols are the file's own, so the page
computes the same tensors as `codec.decode`. `worker.js` reads what is written here.

A payload: length of the header (u32) | header | parts. All are deflated one by one. The header, JSON, has the lengths
of the parts, and for each tensor how its values follow from the next parts.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_inr.codec.codec import CodedTensor
from lightning_inr.codec.coefficients import Coefficients
from lightning_inr.codec.quantize import Quantized
from lightning_inr.codec.schema import Entry
from lightning_inr.codec.transform import block_sizes, slice_sizes
from lightning_inr.types import GridLayout

ESCAPE = 255  # in place of a number as large or larger, which is in another part
CAP = 8  # of magnitudes, in the activity that gives the class of a coefficient
CLASS_EDGES = (1, 3, 6, 10, 16, 26)  # activities at which classes begin
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY)


def pack_payload(header: dict[str, Any], parts: Sequence[bytes]) -> bytes:
    """A payload with `header` and the deflated `parts`, whose lengths are added to the header."""
    text = _deflate(json.dumps({**header, "parts": [len(part) for part in parts]}, separators=(",", ":")).encode())
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])


def pack_floats(values: NDArray[np.float32], bits: int = 32) -> tuple[dict[str, Any], list[bytes]]:
    """As `pack_tensor`, of numbers stored as float16 or float32."""
    kind = np.float16 if bits == 16 else np.float32
    return {"kind": "floats", "shape": values.shape, "bits": bits}, [_deflate(values.astype(kind).tobytes())]


def pack_bytes(data: bytes) -> bytes:
    """One part of a payload."""
    return _deflate(data)


def pack_tensor(entry: Entry, coded: CodedTensor) -> tuple[dict[str, Any], list[bytes]]:
    """The description of a tensor in the header, and its parts.

    `kind` is "floats": one part of float16 or float32 values (`bits`). "levels": symbols, of `levels`, and the lowest
    and highest level, one each or one for each index of `axis`. "coefficients": symbols of the coefficients of a grid
    in steps of `step`, one part for each class. Symbols are signed numbers around `centre`, or `differences` from the
    symbols before along the first axis, folded to 0, 1, 2 …; a further part has what does not fit a byte, as u16.
    """
    if isinstance(coded, Tensor):
        return pack_floats(coded.numpy(), entry.bits or 32)
    if isinstance(coded, Coefficients):
        assert entry.layout is not None
        return _pack_coefficients(coded, entry.layout)
    return _pack_levels(entry, coded)


def _pack_levels(entry: Entry, coded: Quantized) -> tuple[dict[str, Any], list[bytes]]:
    symbols = coded.symbols.reshape(entry.shape)
    if entry.axis is not None:  # stored channel by channel
        others = [size for axis, size in enumerate(entry.shape) if axis != entry.axis]
        symbols = np.moveaxis(coded.symbols.reshape(entry.shape[entry.axis], *others), 0, entry.axis)
    centre = int(np.median(symbols))
    # Latents, embeddings and grids change slowly along the first axis, which is mostly time.
    forms = {False: symbols - centre, True: np.diff(symbols, axis=0, prepend=np.full_like(symbols[:1], centre))}
    packed = {differences: _pack_symbols(form) for differences, form in forms.items()}
    differences = min(packed, key=lambda each: sum(map(len, packed[each])))
    description = {
        "kind": "levels", "shape": entry.shape, "levels": coded.levels, "centre": centre, "differences": differences,
        "axis": entry.axis, "low": coded.low.tolist(), "high": coded.high.tolist(),
    }  # fmt: skip
    return description, packed[differences]


def _pack_symbols(symbols: NDArray[np.int32]) -> list[bytes]:
    folded = _folded(symbols.ravel())
    narrow, wide = np.minimum(folded, ESCAPE).astype(np.uint8), folded[folded >= ESCAPE].astype("<u2")
    return [_deflate(narrow.tobytes()), _deflate(wide.tobytes())]


def _pack_coefficients(coded: Coefficients, layout: GridLayout) -> tuple[dict[str, Any], list[bytes]]:
    rows, columns = block_sizes(layout.rows), block_sizes(layout.columns)
    order = list(frequency_order(rows, columns))

    def in_order(values: NDArray[np.int32]) -> NDArray[np.int32]:
        planes: NDArray[np.int32] = values.reshape(layout.slices, layout.channels, -1)[:, :, order]
        return planes.transpose(2, 0, 1).ravel()

    folded = _folded(in_order(coded.symbols))
    classes = in_order(coefficient_classes(np.abs(coded.symbols), rows, columns))
    narrow = np.minimum(folded, ESCAPE).astype(np.uint8)
    description = {
        "kind": "coefficients", "shape": (layout.slices, layout.rows * layout.columns, layout.channels),
        "step": coded.high / max(1, coded.most), "slices": slice_sizes(layout.groups), "rows": rows, "columns": columns,
    }  # fmt: skip
    parts = [_deflate(narrow[classes == each].tobytes()) for each in range(len(CLASS_EDGES) + 2)]
    return description, [*parts, _deflate(folded[folded >= ESCAPE].astype("<u2").tobytes())]


def coefficient_classes(
    magnitudes: NDArray[np.int32], rows: Sequence[int], columns: Sequence[int]
) -> NDArray[np.int32]:
    """The class of each coefficient (slices, channels, height, width): numbers of one class are deflated together.

    Class 0 is that of the means of blocks. That of the others grows with coefficients that precede them in the order of
    the parts: those of the next lower frequencies in the same block, and that of the slice before.
    """
    capped = np.minimum(magnitudes, CAP)
    inner_row = np.concatenate([np.arange(size) for size in rows])[:, None] > 0
    inner_column = np.concatenate([np.arange(size) for size in columns]) > 0
    above, left, before = np.zeros_like(capped), np.zeros_like(capped), np.zeros_like(capped)
    above[:, :, 1:], left[:, :, :, 1:], before[1:] = capped[:, :, :-1], capped[:, :, :, :-1], capped[:-1]
    corner = np.zeros_like(capped)
    corner[:, :, 1:] = left[:, :, :-1]
    activity = 2 * (above * inner_row + left * inner_column + before) + corner * (inner_row & inner_column)
    classes = 1 + np.digitize(activity, CLASS_EDGES)
    return np.where(inner_row | inner_column, classes, 0).astype(np.int32)


def frequency_order(rows: Sequence[int], columns: Sequence[int]) -> Iterator[int]:
    """The indices of all coefficients of a plane, by frequency: diagonal by diagonal of blocks of these sizes."""
    down, along = _by_frequency(rows), _by_frequency(columns)
    for diagonal in range(len(down) + len(along) - 1):
        for frequency in range(max(0, diagonal - len(along) + 1), min(diagonal + 1, len(down))):
            for row in down[frequency]:
                for column in along[diagonal - frequency]:
                    yield row * sum(columns) + column


def _by_frequency(sizes: Sequence[int]) -> list[list[int]]:
    """For each frequency, the positions that have it in blocks of these sizes."""
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [
        [start + frequency for start, size in zip(starts, sizes, strict=True) if frequency < size]
        for frequency in range(max(sizes))
    ]


def _folded(symbols: NDArray[np.int32]) -> NDArray[np.int32]:
    """Signed numbers 0, 1, -1, 2, -2 … as 0, 1, 2, 3, 4 …."""
    return np.where(symbols > 0, 2 * symbols - 1, -2 * symbols)


def _deflate(data: bytes) -> bytes:
    return min(_deflated(data), key=len)


def _deflated(data: bytes) -> Iterable[bytes]:
    for strategy in STRATEGIES:
        compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
        yield compressor.compress(data) + compressor.flush()
