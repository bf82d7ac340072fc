"""Encoding of a fitted model to bytes (`Codec.encode`) and decoding from these bytes alone (`decode`)."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_inr.codec.coefficients import (
    PARAMETERS,
    Coefficients,
    dequantize_table,
    parameters_of,
    quantize_table,
    read_table,
    runs_of,
)
from lightning_inr.codec.container import Container, pack, unpack
from lightning_inr.codec.cost import frame_cost
from lightning_inr.codec.entropy import CODERS, Reader, Symbols, Table, count_codes, table_of
from lightning_inr.codec.header import FLOATS, checked_model
from lightning_inr.codec.prediction import MOST_DIAGONALS, PREDICTIONS, best_prediction, diagonals
from lightning_inr.codec.quantize import MOST_BITS, QuantizationStep, Quantized, dequantize, quantize, quantize_by
from lightning_inr.codec.schema import Entry
from lightning_inr.errors import BitstreamError
from lightning_inr.models import MODELS
from lightning_inr.models.base import PLACE_ROLES, VideoRepresentation
from lightning_inr.ranges import ByteSource
from lightning_inr.types import GridLayout

CodedTensor = Tensor | Quantized | Coefficients  # a tensor as floats, as symbols, or as symbols of its coefficients
SHORT_VECTOR = 64  # numbers; a shorter vector is stored as floats, since a table of counts would cost more


@dataclass(frozen=True)
class Codec:
    """Settings of the coding: bits per role (1 to 12, or 16 and 32 for floats), quantisation ranges, entropy coder.

    Short vectors (biases) are stored as floats of 16 bits: they are few, and every output depends on them.
    """

    bits: Mapping[str, int] = field(default_factory=dict)
    default_bits: int = 8  # for roles that `bits` does not name
    ranges: str = "tensor"  # or "channel": one range per output channel, and per latent dimension
    coder: str = "range"  # or "huffman", as in Latent-INR

    def __post_init__(self) -> None:
        for role, bits in {**self.bits, "default": self.default_bits}.items():
            if not (isinstance(bits, int) and (1 <= bits <= MOST_BITS or bits in FLOATS)):
                raise ValueError(f"codec bits of {role}={bits}: choose 1 to {MOST_BITS}, or 16 or 32 for floats")
        if self.ranges not in ("tensor", "channel"):
            raise ValueError(f"codec.ranges={self.ranges}: choose tensor or channel")
        if self.coder not in CODERS:
            raise ValueError(f"codec.coder={self.coder}: choose one of {', '.join(CODERS)}")

    def encode(self, model: VideoRepresentation, steps: Mapping[str, QuantizationStep] | None = None) -> bytes:
        """The whole `.linr` file of `model`; encoding the decoded model gives the same bytes again.

        Tensors named in `steps` are quantised with those learned steps, the others with the settings of this codec.
        """
        state = model.state_dict()
        coded_tensors = _quantize_all(self.plan(model), state, steps or {})
        entries = [entry for entry, _ in coded_tensors]
        sections = {
            role: _write_section([coded for coded in coded_tensors if coded[0].role == role])
            for role in model.coded_groups()
        }
        header = {
            "model": next(name for name, kind in MODELS.items() if kind is type(model)),
            "video": model.video._asdict(),
            # Options that are None, their default, are left out: files from before an option stay as they are.
            "config": {name: value for name, value in asdict(model.config).items() if value is not None},
            "space": model.embedding_space,
            **({} if model.token_space is None else {"token_space": model.token_space}),
            "tensors": [list(entry) for entry in entries],
        }
        return pack(Container(header, sections))

    def plan(self, model: VideoRepresentation) -> list[Entry]:
        """The coding of each tensor of `model`, in the order of the file."""
        state = model.state_dict()
        groups = model.coded_groups().items()
        return [
            self._entry(name, role, state[name], model.grid_layout(name)) for role, names in groups for name in names
        ]

    def _entry(self, name: str, role: str, tensor: Tensor, layout: GridLayout | None) -> Entry:
        bits = self.bits.get(role, self.default_bits)
        if bits in FLOATS:
            return Entry(name, role, tuple(tensor.shape), None, bits, None, None)
        if tensor.ndim < 2 and role != "grid" and tensor.numel() < SHORT_VECTOR:
            return Entry(name, role, tuple(tensor.shape), None, 16, None, None)
        if layout is not None and self.ranges == "tensor":
            return Entry(name, role, tuple(tensor.shape), 2**bits, None, None, self.coder, None, layout)
        axis = None
        if self.ranges == "channel" and tensor.ndim > 1:
            axis = 1 if role == "latents" else 0
        return Entry(name, role, tuple(tensor.shape), 2**bits, None, axis, self.coder)


def decode(
    data: ByteSource, device: str | torch.device = "cpu", roles: Collection[str] | None = None
) -> VideoRepresentation:
    """The model stored in `data`, on `device`, in eval mode; BitstreamError if the bytes are not valid.

    `data`: bytes, or `FileRanges` of a file. With `roles` only their tensors are decoded: all others have no values
    and stay on the device "meta"; their sections are not read, so damage in them is not detected.
    """
    container, model, entries = _open(data, roles)
    state: dict[str, Tensor] = {}
    for role, section in container.sections.items():
        with _naming_section(role):
            coded_tensors = _read_section(section, [entry for entry in entries if entry.role == role])
            state |= {entry.name: _dequantized(entry, coded) for entry, coded in coded_tensors}
    model.load_state_dict(state, strict=roles is None, assign=True)
    if roles is not None:
        return model.eval()
    # Convolutions with channels-last weights are twice as fast on a CPU.
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def read_coded(data: bytes) -> list[tuple[Entry, CodedTensor]]:
    """The tensors stored in `data` as the file holds them, not dequantised; BitstreamError if they are not valid."""
    container, _, entries = _open(data)
    coded_tensors: list[tuple[Entry, CodedTensor]] = []
    for role, section in container.sections.items():
        with _naming_section(role):
            coded_tensors += _read_section(section, [entry for entry in entries if entry.role == role])
    return coded_tensors


def describe(data: ByteSource) -> dict[str, Any]:
    """The values that `info` prints: the header, and bytes and parameters per role; no tensor is decoded."""
    container, model, entries = _open(data)
    video = container.header["video"]
    cost = frame_cost(model)
    pixels = video["frames"] * video["height"] * video["width"]
    roles = {
        role: {
            "bytes": len(section),
            "params": sum(entry.numel for entry in entries if entry.role == role),
            "bits": sorted({bits_of(entry) for entry in entries if entry.role == role}),
        }
        for role, section in container.sections.items()
    }
    return {
        "model": container.header["model"],
        "video": video,
        "padded": dict(zip(("height", "width"), model.padded_size, strict=True)),
        "bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        "params": sum(entry.numel for entry in entries),
        "passes": model.passes_per_frame,
        "frame": cost._asdict(),
        "space": model.embedding_space._asdict() if model.embedding_space else None,
        "token_space": model.token_space._asdict() | {"showing": model.token_space.sampling._asdict()}
        if model.token_space
        else None,
        "roles": roles,
        "config": container.header["config"],
        "tensors": [entry._asdict() for entry in entries],
    }


def _open(data: ByteSource, roles: Collection[str] | None = None) -> tuple[Container, VideoRepresentation, list[Entry]]:
    """Container (sections of `roles`), model on "meta" and tensor table of `data`: header checked, nothing decoded."""
    container = unpack(data, roles)
    return container, *checked_model(container.header, container.lengths)


@contextmanager
def _naming_section(role: str) -> Iterator[None]:
    """BitstreamError with the name of the section in place of what damage in it raises."""
    try:
        yield
    except (ValueError, zlib.error, AssertionError) as error:
        raise BitstreamError(f"damaged .linr: section {role}: {error}; fetch the file again") from error


# A section: length of the side information (u32) | side information, deflated | entropy-coded words.
# Side information, per tensor: its floats; or its lowest and highest levels and coded counts; or the parameters of its
# coefficients (codec.coefficients).


def _quantize_all(
    plan: list[Entry], state: Mapping[str, Tensor], steps: Mapping[str, QuantizationStep]
) -> list[tuple[Entry, CodedTensor]]:
    """Quantise all tensors of a file; together their predictions stay within the limit of the decoder."""
    coded_tensors: list[tuple[Entry, CodedTensor]] = []
    for entry in plan:
        left = MOST_DIAGONALS - diagonals(done.shape for done, _ in coded_tensors if done.prediction == "around")
        coded_tensors.append(_quantized(entry, state[entry.name], steps.get(entry.name), left))
    return coded_tensors


def _quantized(
    entry: Entry, tensor: Tensor, step: QuantizationStep | None, diagonals_left: int
) -> tuple[Entry, CodedTensor]:
    if entry.levels is None:
        return entry, tensor
    if entry.layout is not None:
        return entry, quantize_table(tensor, entry.layout, step.size if step else None, entry.levels)
    quantized = quantize_by(tensor, step) if step else quantize(tensor, entry.levels, entry.axis)
    entry = entry._replace(levels=quantized.levels, axis=None if step else entry.axis)
    if entry.role not in PLACE_ROLES or entry.axis is not None:
        return entry, quantized
    prediction, symbols = best_prediction(quantized.symbols.reshape(entry.shape), quantized.levels, diagonals_left)
    return entry._replace(prediction=prediction), quantized._replace(symbols=symbols.ravel())


def _write_section(coded_tensors: list[tuple[Entry, CodedTensor]]) -> bytes:
    side: list[bytes] = []
    runs: list[tuple[Symbols, Table]] = []
    for entry, coded in coded_tensors:
        if isinstance(coded, Tensor):
            kind = FLOATS[entry.bits or 0]
            largest = float(np.finfo(kind).max)  # beyond this is infinity, which a file must not hold
            side.append(coded.detach().cpu().clamp(-largest, largest).numpy().astype(kind).tobytes())
        elif isinstance(coded, Coefficients):
            assert entry.layout is not None
            parameters = parameters_of(coded, entry.layout)
            side.append(parameters.tobytes())
            runs += runs_of(coded, parameters, entry.layout)
        else:
            codes = count_codes(coded.symbols, coded.levels)
            side += [coded.low.astype("<f4").tobytes(), coded.high.astype("<f4").tobytes(), codes.tobytes()]
            runs.append((coded.symbols, table_of(codes)))
    packed = zlib.compress(b"".join(side), 9)
    coders = {entry.coder for entry, _ in coded_tensors if entry.coder is not None}
    words = [CODERS[coder].encode(runs).astype("<u4").tobytes() for coder in coders]  # at most one coder
    return len(packed).to_bytes(4, "little") + packed + b"".join(words)


def _read_section(section: bytes, entries: list[Entry]) -> Iterator[tuple[Entry, CodedTensor]]:
    length = int.from_bytes(section[:4], "little")
    side = _SideReader(_inflate(section[4 : 4 + length], sum(_side_bytes(entry) for entry in entries)))
    coders = {entry.coder for entry in entries if entry.coder is not None}
    if len(coders) > 1:
        raise ValueError("more than one entropy coder")
    words = np.frombuffer(section[4 + length :], dtype="<u4").astype(np.uint32)
    if not coders and len(words):
        raise ValueError("entropy-coded words without a tensor")
    reader = CODERS[coders.pop()].open(words) if coders else None
    for entry in entries:
        yield entry, _read_tensor(entry, side, reader)
    if reader is not None and not reader.exhausted():
        raise ValueError("more entropy-coded words than its tensors need")


def _read_tensor(entry: Entry, side: "_SideReader", reader: Reader | None) -> CodedTensor:
    if entry.levels is None or reader is None:
        values = side.take(FLOATS[entry.bits or 0], entry.numel).astype(np.float32)
        return torch.from_numpy(values).reshape(entry.shape)
    if entry.layout is not None:
        return read_table(side.take(PARAMETERS, 1)[0], entry.layout, reader)
    low, high = (side.take(np.dtype("<f4"), entry.channels).astype(np.float32) for _ in range(2))
    symbols = reader.take(entry.numel, table_of(side.take(np.dtype("u1"), entry.levels)))
    if entry.prediction is not None:
        symbols = PREDICTIONS[entry.prediction].restore(symbols.reshape(entry.shape), entry.levels).ravel()
    return Quantized(symbols, low, high, entry.levels)


def _dequantized(entry: Entry, coded: CodedTensor) -> Tensor:
    """The tensor that `coded` represents; ValueError if it holds numbers that are not finite."""
    if isinstance(coded, Tensor):
        tensor = coded
    elif isinstance(coded, Coefficients):
        assert entry.layout is not None
        tensor = dequantize_table(coded, entry.layout).reshape(entry.shape)
    else:
        tensor = dequantize(coded, entry.shape, entry.axis)
    if not tensor.sum().isfinite() and not tensor.isfinite().all():  # a sum of finite numbers may overflow
        raise ValueError(f"{entry.name} holds numbers that are not finite")
    return tensor


def _side_bytes(entry: Entry) -> int:
    if entry.levels is None:
        return entry.numel * FLOATS[entry.bits or 0].itemsize
    if entry.layout is not None:
        return PARAMETERS.itemsize
    return 8 * entry.channels + entry.levels


def bits_of(entry: Entry) -> int:
    """Bits of a float, or of the largest symbol."""
    return entry.bits or ((entry.levels or 1) - 1).bit_length()


def _inflate(packed: bytes, expected: int) -> bytes:
    """`packed` inflated; ValueError unless this gives `expected` bytes; never takes more memory than that."""
    inflate = zlib.decompressobj()
    data = inflate.decompress(packed, expected + 1)
    if len(data) != expected or not inflate.eof or inflate.unused_data:
        raise ValueError(f"its side information does not have {expected} bytes")
    return data


class _SideReader:
    """Consecutive typed reads from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, kind: np.dtype[Any], count: int) -> np.ndarray[Any, np.dtype[Any]]:
        """The next `count` numbers of `kind`."""
        values = np.frombuffer(self.data, kind, count, self.position)
        self.position += values.nbytes
        return values
