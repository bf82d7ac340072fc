"""What a file holds, from its header alone; imports no torch."""

from collections import Counter
from typing import NamedTuple

from lightning_inr.codec.schema import VideoHeader
from lightning_inr.codec.segment_table import read_segment_header, read_segment_table
from lightning_inr.errors import BitstreamError
from lightning_inr.ranges import ByteSource


class FileSummary(NamedTuple):
    """The figures of a file that its header states."""

    model: str
    video: VideoHeader
    bytes: int  # of the whole file
    bpp: float  # bits per pixel
    parameters: int
    role_bytes: dict[str, int]
    teacher: str | None  # that latents are aligned to
    video_llm: str | None  # that the file has a projector for
    segments: int = 1


def summarize_file(data: ByteSource) -> FileSummary:
    """The figures that the header of `data` states, or the headers of its segments; BitstreamError if one is not valid.

    No section is read, and the model is not built: `codec.describe_file` also checks that they agree with the header.
    """
    table = read_segment_table(data)
    parts = [data] if table is None else (table.part(data, number) for number in range(len(table.segments)))
    parameters, role_bytes = 0, Counter[str]()
    for part in parts:
        header, lengths = read_segment_header(part)
        parameters += sum(entry.numel for entry in header.tensors)
        role_bytes.update(lengths)
    video = header.video if table is None else VideoHeader(**table.video._asdict())
    try:
        bpp = 8 * len(data) / (video.frames * video.height * video.width)
    except ArithmeticError as error:
        raise BitstreamError(f"damaged .linr header: {error}; fetch the file again") from error
    return FileSummary(
        header.model, video, len(data), bpp, parameters, dict(role_bytes),
        header.space.teacher if header.space else None, header.token_space.model if header.token_space else None,
        1 if table is None else len(table.segments),
    )  # fmt: skip
