"""What a file holds, from its header alone; imports no torch."""

from typing import NamedTuple

import msgspec

from lightning_inr.codec.container import unpack
from lightning_inr.codec.schema import Header, VideoHeader
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


def summarize_file(data: ByteSource) -> FileSummary:
    """The figures that the header of `data` states; BitstreamError if it is not valid.

    No section is read, and the model is not built: `codec.describe` also checks that they agree with the header.
    """
    container = unpack(data, roles=())
    try:
        header = msgspec.convert(container.header, Header)
        video = header.video
        bpp = 8 * len(data) / (video.frames * video.height * video.width)
        parameters = sum(entry.numel for entry in header.tensors)
    except (ValueError, ArithmeticError) as error:  # msgspec.ValidationError is a ValueError
        raise BitstreamError(f"damaged .linr header: {error}; fetch the file again") from error
    return FileSummary(
        header.model, video, len(data), bpp, parameters, dict(container.lengths),
        header.space.teacher if header.space else None, header.token_space.model if header.token_space else None,
    )  # fmt: skip
