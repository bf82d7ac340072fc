"""A fitted model to bytes and back: `Codec.encode`, and `decode`, which needs the bytes and nothing else."""

import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_inr.codec.container import Container, pack, unpack
from lightning_inr.codec.entropy import CODERS, Symbols, Table, count_codes, table_of
from lightning_inr.codec.prediction import PREDICTIONS, applies, cheapest
from lightning_inr.codec.quantize import MOST_BITS, Quantized, Step, dequantize, quantize, quantize_by
from lightning_inr.errors import BitstreamError
from lightning_inr.models import MODELS, blueprint
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import EmbeddingSpace, Showing, TokenSpace, VideoShape

FLOATS: dict[int, np.dtype[Any]] = {16: np.dtype("<f2"), 32: np.dtype("<f4")}
LONGEST_SIDE = 2**16  # pixels
MOST_FRAMES = 2**24
WIDEST_SPACE = 2**14  # numbers a vector or a token of a teacher's
MOST_TOKENS = 2**20  # of a video
PREDICTED_ROLES = ("latents", "embeddings", "grid")  # their axes are time or space; those of weights are neither
# A tensor of one repeated value costs next to nothing, so a file may hold more parameters than bits;
# but not without end, or a small file could claim terabytes.
PARAMETERS_PER_BYTE = 1024


class Entry(NamedTuple):
    """A line of the header's tensor table."""

    name: str
    role: str
    shape: tuple[int, ...]
    levels: int | None  # how many symbols there are; None for floats
    bits: int | None  # 16 or 32 for floats; None for symbols
    axis: int | None  # of the quantisation ranges; None: one range
    coder: str | None  # None for floats
    prediction: str | None = None  # what its symbols are differences from; None: symbols as they are

    @property
    def numel(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def quantized(self) -> bool:
        """Whether it is coded as symbols."""
        return self.levels is not None

    @property
    def channels(self) -> int:
        """How many quantisation ranges it has."""
        return 1 if self.axis is None else self.shape[self.axis]


@dataclass(frozen=True)
class Codec:
    """How tensors become bytes: bits a role (1 to 12, or 16 and 32 for floats), ranges, entropy coder.

    Vectors (biases) stay floats of 16 bits: they are few, and every output hangs on them.
    """

    bits: Mapping[str, int] = field(default_factory=dict)
    default_bits: int = 8  # of roles that `bits` does not name
    ranges: str = "tensor"  # or "channel": one for each output channel, and each latent dimension
    coder: str = "range"  # or "huffman", as in the paper

    def __post_init__(self) -> None:
        for role, bits in {**self.bits, "default": self.default_bits}.items():
            if not (isinstance(bits, int) and (1 <= bits <= MOST_BITS or bits in FLOATS)):
                raise ValueError(f"codec bits of {role}={bits}: choose 1 to {MOST_BITS}, or 16 or 32 for floats")
        if self.ranges not in ("tensor", "channel"):
            raise ValueError(f"codec.ranges={self.ranges}: choose tensor or channel")
        if self.coder not in CODERS:
            raise ValueError(f"codec.coder={self.coder}: choose one of {', '.join(CODERS)}")

    def encode(self, model: VideoRepresentation, steps: Mapping[str, Step] | None = None) -> bytes:
        """The whole `.linr` file of `model`; a decoded model encodes to the same bytes again.

        Tensors named in `steps` are quantised on those learned grids, the others as the codec says.
        """
        state = model.state_dict()
        pieces = [_quantized(entry, state[entry.name], (steps or {}).get(entry.name)) for entry in self.plan(model)]
        entries = [entry for entry, _ in pieces]
        sections = {
            role: _write_section([piece for piece in pieces if piece[0].role == role]) for role in model.coded_groups()
        }
        header = {
            "model": next(name for name, kind in MODELS.items() if kind is type(model)),
            "video": model.video._asdict(),
            "config": asdict(model.config),
            "space": model.embedding_space,
            **({} if model.token_space is None else {"token_space": model.token_space}),
            "tensors": [list(entry) for entry in entries],
        }
        return pack(Container(header, sections))

    def symbols(self, model: VideoRepresentation, steps: Mapping[str, Step]) -> Iterator[Tensor]:
        """What the coder will see of each quantised tensor, float32 (numel,) around zero: for estimates of the rate."""
        state = model.state_dict()
        for entry in self.plan(model):
            entry, piece = _quantized(entry, state[entry.name], steps.get(entry.name))
            if isinstance(piece, Quantized):
                if entry.prediction is None:
                    turned = piece.symbols - round(float(piece.symbols.mean()))
                else:  # small differences below zero have come out as large ones
                    turned = (piece.symbols + piece.levels // 2) % piece.levels - piece.levels // 2
                yield torch.from_numpy(turned).float()

    def plan(self, model: VideoRepresentation) -> list[Entry]:
        """How each tensor of `model` will be coded, in the order of the file."""
        state = model.state_dict()
        return [self._entry(name, role, state[name]) for role, names in model.coded_groups().items() for name in names]

    def _entry(self, name: str, role: str, tensor: Tensor) -> Entry:
        bits = self.bits.get(role, self.default_bits)
        if bits in FLOATS:
            return Entry(name, role, tuple(tensor.shape), None, bits, None, None)
        if tensor.ndim < 2 and role != "grid":
            return Entry(name, role, tuple(tensor.shape), None, 16, None, None)
        axis = None
        if self.ranges == "channel" and tensor.ndim > 1:
            axis = 1 if role == "latents" else 0
        return Entry(name, role, tuple(tensor.shape), 2**bits, None, axis, self.coder)


def decode(
    data: bytes, device: str | torch.device = "cpu", roles: Collection[str] | None = None
) -> VideoRepresentation:
    """The model that `data` holds, on `device`, in eval mode; BitstreamError if the bytes are not sound.

    Of `roles` alone if they are named: all other tensors stay without values, and on the device "meta".
    """
    container = unpack(data)
    model, entries = _blueprint(container.header, len(data))
    state: dict[str, Tensor] = {}
    for role in dict.fromkeys(entry.role for entry in entries if roles is None or entry.role in roles):
        if role not in container.sections:
            raise BitstreamError(f"damaged .linr: section {role} is missing; fetch the file again")
        try:
            state |= _read_section(container.sections[role], [entry for entry in entries if entry.role == role])
        except (ValueError, zlib.error, AssertionError) as error:
            raise BitstreamError(f"damaged .linr: section {role}: {error}; fetch the file again") from error
    model.load_state_dict(state, strict=roles is None, assign=True)
    if roles is not None:
        return model.eval()
    # A CPU convolves channels-last weights twice as fast.
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def describe(data: bytes) -> dict[str, Any]:
    """What `info` prints: the header, and bytes and parameters a role, without decoding a tensor."""
    container = unpack(data)
    model, entries = _blueprint(container.header, len(data))
    video = container.header["video"]
    pixels = video["frames"] * video["height"] * video["width"]
    roles = {
        role: {
            "bytes": len(section),
            "params": sum(entry.numel for entry in entries if entry.role == role),
            "bits": sorted({_bits(entry) for entry in entries if entry.role == role}),
        }
        for role, section in container.sections.items()
    }
    return {
        "model": container.header["model"],
        "video": video,
        "padded": dict(zip(("height", "width"), model.padded, strict=True)),
        "bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        "params": sum(entry.numel for entry in entries),
        "passes": model.passes,
        "space": model.embedding_space._asdict() if model.embedding_space else None,
        "token_space": model.token_space._asdict() | {"showing": model.token_space.showing._asdict()}
        if model.token_space
        else None,
        "roles": roles,
        "config": container.header["config"],
        "tensors": [entry._asdict() for entry in entries],
    }


def side_bytes(data: bytes) -> int:
    """How much of a file is not its entropy-coded symbols: header, floats, ranges, tables."""
    words = (len(section) - 4 - int.from_bytes(section[:4], "little") for section in unpack(data).sections.values())
    return len(data) - sum(words)


def _blueprint(header: dict[str, Any], size: int) -> tuple[VideoRepresentation, list[Entry]]:
    """The model without memory for its tensors, and the checked tensor table."""
    try:
        video = VideoShape(**header["video"])
        _check_video(video)
        model = blueprint(header["model"], video, _space(header), _token_space(header, video), **header["config"])
        entries = [Entry(name, role, tuple(shape), *coding) for name, role, shape, *coding in header["tensors"]]
        _check_entries(entries, model, size)
    except BitstreamError:
        raise
    # A header is foreign data: whatever it makes the constructors stumble over is the header's fault.
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError, AttributeError, IndexError) as error:
        line = str(error).splitlines()[0] if str(error) else repr(error)
        raise BitstreamError(f"this .linr cannot be built here: {line}; fetch the file again or update") from error
    return model, entries


def _space(header: dict[str, Any]) -> EmbeddingSpace | None:
    """Whose language `semantic` speaks; None where nobody taught it, as in files older than teachers."""
    if header.get("space") is None:
        return None
    space = EmbeddingSpace(*header["space"])
    if not (isinstance(space.teacher, str) and isinstance(space.fingerprint, str)):
        raise BitstreamError("damaged .linr: its teacher has no name; fetch the file again")
    if not (isinstance(space.width, int) and 1 <= space.width <= WIDEST_SPACE):
        raise BitstreamError(f"damaged .linr: it claims a teacher of width {space.width}")
    return space


def _token_space(header: dict[str, Any], video: VideoShape) -> TokenSpace | None:
    """Which video language model its projector speaks to; None where it has none."""
    if header.get("token_space") is None:
        return None
    space = TokenSpace(*header["token_space"])
    space = space._replace(showing=Showing(*space.showing))
    showing = space.showing
    counts = (space.tokens, space.width, showing.frames, showing.height, showing.width)
    sound = all(isinstance(count, int) and count > 0 for count in counts)
    sound &= isinstance(space.groups, int) and space.groups >= 0
    if not (sound and isinstance(space.model, str) and isinstance(space.fingerprint, str)):
        raise BitstreamError("damaged .linr: its tokens are not described; fetch the file again")
    timed = isinstance(showing.seconds, int | float) and 0 < showing.seconds < math.inf
    most = max(video.frames, 2)  # a model that reads frames in pairs is shown a single one twice
    if not timed or showing.frames > most or max(showing.height, showing.width) > LONGEST_SIDE:
        raise BitstreamError(f"damaged .linr: it claims to show {tuple(showing)} of {video.frames} frames")
    if space.width > WIDEST_SPACE or space.tokens > MOST_TOKENS:
        raise BitstreamError(f"damaged .linr: it claims {space.tokens} tokens of width {space.width}")
    return space


def _check_video(video: VideoShape) -> None:
    counts = (video.frames, video.height, video.width, video.stride)
    sound = all(isinstance(count, int) and count > 0 for count in counts) and 0 < float(video.fps) < math.inf
    if not sound or video.frames > MOST_FRAMES or max(video.height, video.width) > LONGEST_SIDE:
        raise BitstreamError(f"damaged .linr: it claims a video of {tuple(video)}")


def _check_entries(entries: list[Entry], model: VideoRepresentation, size: int) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    groups = {name: role for role, names in model.coded_groups().items() for name in names}
    if {entry.name: entry.shape for entry in entries} != expected or len(entries) != len(expected):
        raise BitstreamError("damaged .linr: its tensors are not those of its model; fetch the file again")
    for entry in entries:
        floats = entry.coder is entry.levels is None and entry.bits in FLOATS
        counted = isinstance(entry.levels, int) and 2 <= entry.levels <= 2**MOST_BITS
        symbols = entry.coder in CODERS and entry.bits is None and counted
        axis = entry.axis is None or (isinstance(entry.axis, int) and 0 <= entry.axis < len(entry.shape))
        foretold = counted and entry.axis is None and applies(str(entry.prediction), entry.shape)
        axis &= entry.prediction is None or foretold
        if not ((floats or symbols) and axis and groups[entry.name] == entry.role):
            raise BitstreamError(f"damaged .linr: tensor {entry.name} is described as {tuple(entry)}")
    claimed = sum(entry.numel for entry in entries)
    if claimed > size * PARAMETERS_PER_BYTE:
        raise BitstreamError(f"damaged .linr: {size} bytes claim to hold {claimed} parameters; fetch the file again")


# A section: length of the side information (u32) | side information, deflated | entropy-coded words.
# Side information: per tensor either its floats, or its lowest and highest levels and coded counts.


def _quantized(entry: Entry, tensor: Tensor, step: Step | None) -> tuple[Entry, Tensor | Quantized]:
    if entry.levels is None:
        return entry, tensor
    quantized = quantize_by(tensor, step) if step else quantize(tensor, entry.levels, entry.axis)
    entry = entry._replace(levels=quantized.levels, axis=None if step else entry.axis)
    if entry.role not in PREDICTED_ROLES or entry.axis is not None:
        return entry, quantized
    prediction, symbols = cheapest(quantized.symbols.reshape(entry.shape), quantized.levels)
    return entry._replace(prediction=prediction), quantized._replace(symbols=symbols.ravel())


def _write_section(pieces: list[tuple[Entry, Tensor | Quantized]]) -> bytes:
    side: list[bytes] = []
    runs: dict[str, list[tuple[Symbols, Table]]] = {}
    for entry, piece in pieces:
        if isinstance(piece, Tensor):
            side.append(piece.detach().cpu().numpy().astype(FLOATS[entry.bits or 0]).tobytes())
            continue
        codes = count_codes(piece.symbols, piece.levels)
        side += [piece.low.astype("<f4").tobytes(), piece.high.astype("<f4").tobytes(), codes.tobytes()]
        runs.setdefault(entry.coder or "", []).append((piece.symbols, table_of(codes)))
    packed = zlib.compress(b"".join(side), 9)
    words = [CODERS[coder].encode(run).astype("<u4").tobytes() for coder, run in runs.items()]
    return len(packed).to_bytes(4, "little") + packed + b"".join(words)


def _read_section(section: bytes, entries: list[Entry]) -> dict[str, Tensor]:
    length = int.from_bytes(section[:4], "little")
    side = _Reader(_inflate(section[4 : 4 + length], sum(_side_bytes(entry) for entry in entries)))
    tensors: dict[str, Tensor] = {}
    coded: list[tuple[Entry, Quantized, Table]] = []
    for entry in entries:
        if entry.levels is None:
            values = side.take(FLOATS[entry.bits or 0], entry.numel).astype(np.float32)
            tensors[entry.name] = torch.from_numpy(values).reshape(entry.shape)
            continue
        low, high = (side.take(np.dtype("<f4"), entry.channels).astype(np.float32) for _ in range(2))
        table = table_of(side.take(np.dtype("u1"), entry.levels))
        coded.append((entry, Quantized(np.empty(0, np.int32), low, high, entry.levels), table))
    if not coded:
        return tensors
    coder = coded[0][0].coder
    if coder is None or any(entry.coder != coder for entry, _, _ in coded):
        raise ValueError("more than one entropy coder")
    words = np.frombuffer(section[4 + length :], dtype="<u4").astype(np.uint32)
    runs = CODERS[coder].decode(words, [(entry.numel, table) for entry, _, table in coded])
    for (entry, quantized, _), symbols in zip(coded, runs, strict=True):
        if entry.prediction is not None:
            restore = PREDICTIONS[entry.prediction].restore
            symbols = restore(symbols.reshape(entry.shape), quantized.levels).ravel()
        tensors[entry.name] = dequantize(quantized._replace(symbols=symbols), entry.shape, entry.axis)
    return tensors


def _side_bytes(entry: Entry) -> int:
    if entry.levels is None:
        return entry.numel * FLOATS[entry.bits or 0].itemsize
    return 8 * entry.channels + entry.levels


def _bits(entry: Entry) -> int:
    """Of a float, or of the longest symbol number."""
    return entry.bits or ((entry.levels or 1) - 1).bit_length()


def _inflate(packed: bytes, expected: int) -> bytes:
    """`packed` inflated, which must give `expected` bytes; never takes more memory than that."""
    inflate = zlib.decompressobj()
    data = inflate.decompress(packed, expected + 1)
    if len(data) != expected or not inflate.eof:
        raise ValueError(f"its side information is not of {expected} bytes")
    return data


class _Reader:
    """Typed reads from a run of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, kind: np.dtype[Any], count: int) -> np.ndarray[Any, np.dtype[Any]]:
        """The next `count` numbers of `kind`."""
        values = np.frombuffer(self.data, kind, count, self.position)
        self.position += values.nbytes
        return values
