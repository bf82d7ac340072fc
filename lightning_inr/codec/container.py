"""The container of a `.linr` file of one network: header and sections, validated before use.

magic "LINR" | version u16 | header length u32 | CRC-32 of all before and of the header u32
header: JSON, deflated
sections, one per role, in the header's order; the header holds the length and CRC-32 of each
"""

import json
import struct
import zlib
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from lightning_inr.errors import BitstreamError
from lightning_inr.ranges import ByteSource

MAGIC = b"LINR"
VERSION = 3
READABLE = (2, 3)  # of one network; version 2: no grid is coded as coefficients
SEGMENTED = 4  # several files of one network, one after the other (codec.segment_table)
PREAMBLE = struct.Struct("<4sHII")
LARGEST_HEADER = 2**20  # bytes after inflating; typical headers have a few thousand


class Container(NamedTuple):
    """A file's header (JSON values) and its sections, role -> bytes."""

    header: dict[str, Any]
    sections: dict[str, bytes]
    lengths: Mapping[str, int] = MappingProxyType({})  # role -> bytes, of every section of a file, read or not


class Section(NamedTuple):
    """An entry of the header's table of sections."""

    role: str
    length: int  # bytes
    crc: int


def pack(container: Container) -> bytes:
    """The file's bytes; the same container always gives the same bytes."""
    table = [[role, len(data), zlib.crc32(data)] for role, data in container.sections.items()]
    return b"".join([write_file_header(VERSION, container.header | {"sections": table}), *container.sections.values()])


def unpack(data: ByteSource, roles: Collection[str] | None = None) -> Container:
    """Header and the sections of `roles` (all by default); BitstreamError if any of these is not valid.

    No byte of another section is read: of those only the lengths are checked.
    """
    if version_of(data) == SEGMENTED:
        raise BitstreamError(
            "this .linr holds a network per segment of its video, and here one network is needed; "
            "fit the video, or a part of it, with segment_frames=null"
        )
    header, start = read_file_header(data, READABLE)
    try:
        table = msgspec.convert(header.pop("sections", None), list[Section])
    except (msgspec.ValidationError, OverflowError) as error:
        raise BitstreamError(f"damaged .linr header: no list of sections ({error}); fetch the file again") from error
    valid = all(each.length >= 0 for each in table) and len({each.role for each in table}) == len(table)
    if not valid or start + sum(each.length for each in table) != len(data):
        raise BitstreamError(f"damaged .linr: its {len(data)} bytes do not match its header; fetch the file again")
    sections: dict[str, bytes] = {}
    for role, length, crc in table:
        first, start = start, start + length
        if roles is not None and role not in roles:
            continue
        section = data[first:start]
        if zlib.crc32(section) != crc:
            raise BitstreamError(f"damaged .linr: section {role} does not match its checksum; fetch the file again")
        sections[role] = section
    return Container(header, sections, {each.role: each.length for each in table})


def version_of(data: ByteSource) -> int | None:
    """The version that `data` states; None if it is no `.linr` file."""
    start = data[: PREAMBLE.size]
    return PREAMBLE.unpack(start)[1] if len(start) == PREAMBLE.size and start[:4] == MAGIC else None


def write_file_header(version: int, values: Mapping[str, Any]) -> bytes:
    """Preamble and header of a file."""
    text = json.dumps(values, separators=(",", ":"), sort_keys=True)
    header = zlib.compress(text.encode(), 9)
    checked = MAGIC + struct.pack("<HI", version, len(header)) + header
    return PREAMBLE.pack(MAGIC, version, len(header), zlib.crc32(checked)) + header


def read_file_header(data: ByteSource, versions: Collection[int]) -> tuple[dict[str, Any], int]:
    """The header of a file of one of `versions`, and where it ends; BitstreamError if it is not valid."""
    if version_of(data) is None:
        raise BitstreamError(f"not a .linr file: its {len(data)} bytes start with {data[:4]!r}; expected {MAGIC!r}")
    _, version, length, crc = PREAMBLE.unpack(data[: PREAMBLE.size])
    if version not in versions:
        remedy = "install a newer one" if version > SEGMENTED else "fit again, or install an older one"
        raise BitstreamError(
            f".linr version {version}: this program reads versions {READABLE[0]} to {SEGMENTED}; {remedy}"
        )
    packed = data[PREAMBLE.size : PREAMBLE.size + length]
    if len(packed) != length or zlib.crc32(MAGIC + struct.pack("<HI", version, length) + packed) != crc:
        raise BitstreamError("damaged .linr: the header does not match its checksum; fetch the file again")
    try:
        inflate = zlib.decompressobj()
        header = msgspec.json.decode(inflate.decompress(packed, LARGEST_HEADER))
    except (zlib.error, ValueError, RecursionError) as error:  # NaN and Infinity are not valid JSON
        raise BitstreamError(f"damaged .linr header: {error}; fetch the file again") from error
    if not inflate.eof or inflate.unused_data or not isinstance(header, dict):
        raise BitstreamError(f"damaged .linr header: not one JSON object within {LARGEST_HEADER} bytes")
    return header, PREAMBLE.size + length
