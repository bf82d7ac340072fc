"""The `.linr` file: bytes in, header and sections out, nothing believed that has not been checked.

magic "LINR" | version u16 | header length u32 | CRC-32 of all before and of the header u32
header: JSON, deflated
sections, one a role, in the header's order; the header holds each one's length and CRC-32
"""

import json
import struct
import zlib
from typing import Any, NamedTuple

import msgspec

from lightning_inr.errors import BitstreamError

MAGIC = b"LINR"
VERSION = 3
READABLE = (2, 3)  # 2: no table was coded as coefficients
PREAMBLE = struct.Struct("<4sHII")
LARGEST_HEADER = 2**20  # bytes once inflated; a real one has a few thousand


class Container(NamedTuple):
    """A file's header (JSON values) and its sections, role -> bytes."""

    header: dict[str, Any]
    sections: dict[str, bytes]


class Section(NamedTuple):
    """A line of the header's table of sections."""

    role: str
    length: int  # bytes
    crc: int


def pack(container: Container) -> bytes:
    """The file's bytes; the same container always gives the same bytes."""
    table = [[role, len(data), zlib.crc32(data)] for role, data in container.sections.items()]
    text = json.dumps(container.header | {"sections": table}, separators=(",", ":"), sort_keys=True)
    header = zlib.compress(text.encode(), 9)
    checked = MAGIC + struct.pack("<HI", VERSION, len(header)) + header
    preamble = PREAMBLE.pack(MAGIC, VERSION, len(header), zlib.crc32(checked))
    return b"".join([preamble, header, *container.sections.values()])


def unpack(data: bytes, roles: set[str] | None = None) -> Container:
    """Header and the sections of `roles` (all by default); BitstreamError if anything is not as it should be."""
    header, start = _read_header(data)
    try:
        table = msgspec.convert(header.pop("sections", None), list[Section])
    except (msgspec.ValidationError, OverflowError) as error:
        raise BitstreamError(f"damaged .linr header: no list of sections ({error}); fetch the file again") from error
    sound = all(each.length >= 0 for each in table) and len({each.role for each in table}) == len(table)
    if not sound or start + sum(each.length for each in table) != len(data):
        raise BitstreamError(f"damaged .linr: {len(data)} bytes are not what its header says; fetch the file again")
    sections: dict[str, bytes] = {}
    for role, length, crc in table:
        section = data[start : start + length]
        start += length
        if roles is not None and role not in roles:
            continue
        if zlib.crc32(section) != crc:
            raise BitstreamError(f"damaged .linr: section {role} does not match its checksum; fetch the file again")
        sections[role] = section
    return Container(header, sections)


def _read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header and where the sections start."""
    if len(data) < PREAMBLE.size or data[:4] != MAGIC:
        raise BitstreamError(f"not a .linr file: {len(data)} bytes that begin with {data[:4]!r}; expected {MAGIC!r}")
    _, version, length, crc = PREAMBLE.unpack_from(data)
    packed = data[PREAMBLE.size : PREAMBLE.size + length]
    if version not in READABLE:
        remedy = "install a newer one" if version > VERSION else "fit again, or install an older one"
        raise BitstreamError(
            f".linr version {version}: this program reads versions {READABLE[0]} to {VERSION}; {remedy}"
        )
    if len(packed) != length or zlib.crc32(MAGIC + struct.pack("<HI", version, length) + packed) != crc:
        raise BitstreamError("damaged .linr: the header does not match its checksum; fetch the file again")
    try:
        inflate = zlib.decompressobj()
        header = msgspec.json.decode(inflate.decompress(packed, LARGEST_HEADER))
    except (zlib.error, ValueError, RecursionError) as error:  # NaN and Infinity are no JSON
        raise BitstreamError(f"damaged .linr header: {error}; fetch the file again") from error
    if not inflate.eof or inflate.unused_data or not isinstance(header, dict):
        raise BitstreamError(f"damaged .linr header: not one JSON object within {LARGEST_HEADER} bytes")
    return header, PREAMBLE.size + length
