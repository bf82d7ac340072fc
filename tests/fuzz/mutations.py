"""Damaged and invalid `.linr` files, made from small valid files; a case depends on its number alone."""

import functools
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightning_inr.codec import Codec, join_files
from lightning_inr.codec.container import MAGIC, SEGMENTED, Container, pack, read_file_header, unpack, write_file_header
from lightning_inr.models import build
from lightning_inr.types import EmbeddingSpace, FrameSampling, TokenSpace, VideoShape
from tests.conftest import SMALL

HERE = Path(__file__).parent
OLD = HERE.parent / "codec" / "golden" / "version_2" / "fitted.linr"
VIDEO = VideoShape(5, 22, 30, 25.0)
CODECS = (
    Codec(default_bits=6),
    Codec(default_bits=8, ranges="channel"),
    Codec(bits={"latents": 32, "base": 32}, default_bits=4, coder="huffman"),
)
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 255, 2**16, 2**24, 2**31, 2**63, 2**70, 0.5, -0.0, 1e-300, 1e300, 8.0, True, False, None, "",
    "8", [], {}, [1], "x" * 300, "\x1b[2J", "../up", "é",
)  # fmt: skip
BAD_TEXTS = ("NaN", "Infinity", "-Infinity", "1e999", "[" * 2000, '"\\ud800"')


@functools.cache
def sound(number: int) -> bytes:
    """A valid file: of every model, three codecs, with alignment, and one of version 2."""
    names = list(SMALL)
    if number % 40 == 39:
        return OLD.read_bytes()
    name, codec = names[number % len(names)], CODECS[number // len(names) % len(CODECS)]
    torch.manual_seed(number)
    aligned = EmbeddingSpace("tiny", "01", 16) if name.startswith("latent") and number % 2 else None
    model = build(name, VIDEO, aligned, **SMALL[name])
    model.store_embeddings([])
    if aligned is not None:
        model.attach_projector(TokenSpace("tiny", "01", 4, 2, 6, FrameSampling(2, 8, 8, 0.1)))
    model.decoder_only()
    return codec.encode(model)


def case(number: int) -> bytes:
    """The mutation of this number."""
    chance = random.Random(number)
    if number % 50 == 49:
        return joined(chance)
    kinds: tuple[Callable[[bytes, random.Random], bytes], ...] = (raw, header, text, section, both, weights)
    return kinds[number % len(kinds)](sound(chance.randrange(40)), chance)


@functools.cache
def _segments() -> bytes:
    """A valid file of three segments."""
    parts = []
    for frames in (2, 1, 3):
        torch.manual_seed(frames)
        parts.append(Codec(default_bits=4).encode(build("nerv", VIDEO._replace(frames=frames), **SMALL["nerv"])))
    return b"".join(join_files(lambda: parts))


def joined(chance: random.Random) -> bytes:
    """A file of several segments with values of its table changed, with a valid checksum, or with bytes changed."""
    if chance.random() < 0.3:
        return raw(_segments(), chance)
    table, start = read_file_header(_segments(), (SEGMENTED,))
    for _ in range(chance.randint(1, 3)):
        _change(table, chance)
    return write_file_header(SEGMENTED, table) + _segments()[start:]


def raw(data: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes removed, inserted or moved; checksums unchanged."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(damaged))
        match chance.randrange(4):
            case 0:
                damaged[place] ^= 1 << chance.randrange(8)
            case 1:
                del damaged[place : place + chance.choice((1, 4, 100))]
            case 2:
                damaged[place:place] = chance.randbytes(chance.choice((1, 4, 100)))
            case 3:
                del damaged[place:]
        if not damaged:
            break
    return bytes(damaged)


def header(data: bytes, chance: random.Random) -> bytes:
    """One to three values of the header changed, with valid checksums."""
    container = unpack(data)
    for _ in range(chance.randint(1, 3)):
        _change(container.header, chance)
    return pack(container)


def text(data: bytes, chance: random.Random) -> bytes:
    """The header's text changed, possibly to invalid JSON, with a valid checksum."""
    _, version, length, _ = struct.unpack_from("<4sHII", data)
    written = zlib.decompress(data[14 : 14 + length]).decode()
    place = chance.randrange(len(written))
    written = (
        written[:place] + chance.choice((*BAD_TEXTS, "9" * 400, "", ",", "}")) + written[place + chance.randrange(3) :]
    )
    packed = zlib.compress(written.encode("utf-8", "surrogatepass"), 1)
    start = MAGIC + struct.pack("<HI", version, len(packed))
    return start + struct.pack("<I", zlib.crc32(start + packed)) + packed + data[14 + length :]


def section(data: bytes, chance: random.Random) -> bytes:
    """Bytes of sections changed, or sections removed, exchanged or added, with valid checksums."""
    container = unpack(data)
    sections = dict(container.sections)
    for _ in range(chance.randint(1, 3)):
        role = chance.choice(list(sections) or ["base"])
        match chance.randrange(6):
            case 0:
                sections.pop(role, None)
            case 1:
                sections[role] = sections.get(role, b"") + chance.randbytes(chance.choice((1, 4, 4096)))
            case 2:
                sections[chance.choice(("x", "grid", "semantic", ""))] = chance.randbytes(50)
            case 3:
                sections[role] = _side_changed(sections.get(role, b""), chance)
            case _:
                sections[role] = raw(sections.get(role) or b"\0", chance)
    return pack(Container(container.header, sections))


def both(data: bytes, chance: random.Random) -> bytes:
    """Header and sections changed, with valid checksums."""
    return section(header(data, chance), chance)


def weights(data: bytes, chance: random.Random) -> bytes:
    """A valid file of a model with changed options or extreme weights."""
    name = chance.choice(list(SMALL))
    options = json.loads(json.dumps(SMALL[name]))
    if chance.random() < 0.7:
        _change(options, chance)
    try:
        model = build(name, VIDEO._replace(frames=chance.choice((1, 2, 5, 40))), **options)
    except ValueError:
        model = build(name, VIDEO, **SMALL[name])
    except (TypeError, RuntimeError, MemoryError, OverflowError):
        return header(data, chance)  # what a caller of `build` may give is no matter of files
    if sum(parameter.numel() for parameter in model.parameters()) > 10**6:
        return header(data, chance)
    model.store_embeddings([])
    model.decoder_only()
    chosen = chance.choice(list(model.parameters()))
    with torch.no_grad():
        chosen.flatten()[: chance.choice((1, 5, 10**6))] = chance.choice((1e30, -1e30, 3e38, 65504.0, 0.0, math.nan))
    try:
        return chance.choice(CODECS).encode(model)
    except (ValueError, OverflowError):  # NaN has no symbols
        return header(data, chance)


def _change(node: Any, chance: random.Random) -> None:
    """Change, remove or duplicate one value in a JSON object or list."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = chance.choice(keys)
        inner = node[key]
        if not (isinstance(inner, dict | list) and inner and chance.random() < 0.8):
            break
        node = inner
    match chance.randrange(8):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node.insert(key, inner)
        case 2 if isinstance(node, list):
            node[key:key] = [inner] * chance.choice((2, 50))
        case 3 if isinstance(inner, int | float):
            node[key] = inner * chance.choice((2, 3, 10, 1000, 10**6, -1))
        case 4 if isinstance(inner, int | float):
            node[key] = inner + chance.choice((1, -1, 2))
        case _:
            node[key] = chance.choice(NUMBERS)


def _side_changed(data: bytes, chance: random.Random) -> bytes:
    """The side information of a section changed (ranges, counts, floats) and deflated again."""
    length = int.from_bytes(data[:4], "little")
    try:
        side = bytearray(zlib.decompress(data[4 : 4 + length]))
    except zlib.error:
        return data
    for _ in range(chance.randint(1, 4)):
        if side:
            place = chance.randrange(len(side))
            new = chance.choice(
                (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\0\x7c", b"\xff\xff", b"\0\0\0\0")
            )
            side[place : place + len(new)] = new[: len(side) - place]
    packed = zlib.compress(bytes(side), 9)
    return len(packed).to_bytes(4, "little") + packed + data[4 + length :]
