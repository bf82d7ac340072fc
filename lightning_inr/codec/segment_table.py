"""A file of several segments: a table, then complete files of one network each; imports no torch.

magic "LINR" | version 4 | header length u32 | CRC-32 of all before and of the header u32
header: JSON, deflated: the whole video's shape, its embedding space, and frames, bytes and checksum of each segment
segments, in the order of the video, without gaps
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from lightning_inr.codec.container import PREAMBLE, SEGMENTED, read_file_header, unpack, version_of, write_file_header
from lightning_inr.codec.limits import check_embeddings
from lightning_inr.codec.schema import FileSegment, Header, SegmentedHeader
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.ranges import ByteSource
from lightning_inr.types import EmbeddingSpace, VideoShape

MOST_SEGMENTS = 2**14
COPIED_AT_ONCE = 2**20  # bytes


class SegmentTable(NamedTuple):
    """Where the frames of a video are in its file."""

    video: VideoShape  # the whole video
    space: EmbeddingSpace | None
    segments: Sequence[FileSegment]
    firsts: Sequence[int]  # number of the first frame of each segment
    offsets: Sequence[int]  # of each segment in the file, bytes

    def locate(self, position: float) -> tuple[int, float]:
        """The number of the segment of a frame position, and the position in that segment.

        A position between two segments belongs to the nearer frame, as at a cut; halfway, to the later one.
        """
        number = max(0, bisect_right(self.firsts, position + 0.5) - 1)
        return number, min(max(0.0, position - self.firsts[number]), self.segments[number].frames - 1.0)

    def part(self, data: ByteSource, number: int) -> "FilePart":
        """The bytes of a segment of the file `data`; BitstreamError if its header is not that of the table."""
        found = FilePart(data, self.offsets[number], self.segments[number].length)
        if PREAMBLE.unpack(found[: PREAMBLE.size])[3] != self.segments[number].crc:
            raise BitstreamError(f"damaged .linr: segment {number} does not match its checksum; fetch the file again")
        return found


class FilePart:
    """`length` bytes of a file from `offset` on, read when a slice asks for them."""

    def __init__(self, data: ByteSource, offset: int, length: int) -> None:
        self.data, self.offset, self.length = data, offset, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self.length)
        return self.data[self.offset + start : self.offset + max(start, stop)]


def read_segment_table(data: ByteSource) -> SegmentTable | None:
    """The segments of a file; None if it is none of several segments, BitstreamError if its table is not valid."""
    if version_of(data) != SEGMENTED:
        return None
    values, start = read_file_header(data, (SEGMENTED,))
    try:
        header = msgspec.convert(values, SegmentedHeader)
    except (msgspec.ValidationError, OverflowError) as error:
        raise BitstreamError(f"damaged .linr header: {error}; fetch the file again") from error
    video, segments = VideoShape(**msgspec.structs.asdict(header.video)), header.segments
    if video.fault:
        raise BitstreamError(f"damaged .linr: its video has {video.fault}")
    if not 2 <= len(segments) <= MOST_SEGMENTS:
        raise BitstreamError(f"damaged .linr: it has {len(segments)} segments; 2 to {MOST_SEGMENTS} are allowed")
    if video.stride != 1 or any(each.frames < 1 or each.length < PREAMBLE.size for each in segments):
        raise BitstreamError("damaged .linr: its table of segments is not valid; fetch the file again")
    firsts = list(accumulate((each.frames for each in segments), initial=0))
    offsets = list(accumulate((each.length for each in segments), initial=start))
    if firsts.pop() != video.frames or offsets.pop() != len(data):
        raise BitstreamError(
            f"damaged .linr: its {len(data)} bytes and {video.frames} frames do not match its segments; "
            "fetch the file again"
        )
    if header.space is not None:
        check_embeddings(header.space.width, video.frames)
    return SegmentTable(video, header.space, segments, firsts, offsets)


class SegmentHeader(NamedTuple):
    """The header of a file of one network, and the bytes of its sections by role."""

    header: Header
    lengths: Mapping[str, int]


def read_segment_header(data: ByteSource) -> SegmentHeader:
    """The header of a file of one network, without its sections; BitstreamError if it is not valid."""
    container = unpack(data, roles=())
    try:
        return SegmentHeader(msgspec.convert(container.header, Header), container.lengths)
    except (ValueError, ArithmeticError) as error:  # msgspec.ValidationError is a ValueError
        raise BitstreamError(f"damaged .linr header: {error}; fetch the file again") from error


def join_files(read_parts: Callable[[], Iterable[ByteSource]]) -> Iterator[bytes]:
    """The bytes of one file of these segments, piece by piece; of a single segment, its own bytes.

    `read_parts` is called twice and gives them in order: one at a time is in memory. UserError unless all are files of
    one network, of one frame size, frame rate and embedding space, with stride 1 and without tokens.
    """
    yield _write_table(read_parts())
    for part in read_parts():
        for start in range(0, len(part), COPIED_AT_ONCE):
            yield part[start : start + COPIED_AT_ONCE]


def _write_table(parts: Iterable[ByteSource]) -> bytes:
    """The bytes before the segments; none before a single one."""
    common: Header | None = None
    segments: list[FileSegment] = []
    for number, part in enumerate(parts):
        header = read_segment_header(part).header
        common = common or header
        if not _belong_together(header, common):
            raise UserError(f"segment {number} differs from the first in size, rate, stride or teacher, or has tokens")
        segments.append(FileSegment(header.video.frames, len(part), PREAMBLE.unpack(part[: PREAMBLE.size])[3]))
    if len(segments) > MOST_SEGMENTS:
        raise UserError(f"{len(segments)} segments: a file has {MOST_SEGMENTS} at most; choose more frames per segment")
    if common is None or len(segments) == 1:
        return b""
    video = msgspec.structs.asdict(common.video) | {"frames": sum(each.frames for each in segments)}
    return write_file_header(SEGMENTED, {"video": video, "space": common.space, "segments": segments})


def _belong_together(header: Header, first: Header) -> bool:
    sizes = [(each.video.height, each.video.width, each.video.fps) for each in (header, first)]
    return (
        sizes[0] == sizes[1] and header.video.stride == 1 and header.space == first.space and header.token_space is None
    )
