"""One `.linr` file beside conventional codecs at about the same size, measured on the same frames."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_inr.codec import read_video
from lightning_inr.data.module import Frames
from lightning_inr.data.sources.source import OpenSource
from lightning_inr.data.writer import Encoding
from lightning_inr.devices import choose_device
from lightning_inr.pipelines.evaluation import EvaluationRequest, measure_in_new_process
from lightning_inr.pipelines.reference_codecs import check_encoder, decode_stream, encode, measure_codec
from lightning_inr.progress import ProgressBar
from lightning_inr.ranges import FileRanges
from lightning_inr.report.figures import draw_crops

FIGURES = ("psnr", "ms_ssim", "vmaf", "bpp", "bytes")


class ReferenceCodec(NamedTuple):
    """A conventional codec, and the range of the quality option that its size is chosen by."""

    encoding: Encoding
    format: str  # suffix of the raw stream
    rate_option: str
    finest: int  # value of the option with the most bits
    coarsest: int


class ComparisonRow(NamedTuple):
    """The figures of one codec."""

    name: str
    figures: Mapping[str, Any]


def compare_with_codecs(
    bitstream: Path, open_source: OpenSource, codecs: Mapping[str, ReferenceCodec], folder: Path, device: str
) -> list[ComparisonRow]:
    """Measure the file and each codec at the size nearest to the file's; writes streams and comparison.png to `folder`.

    UserError if the source is not the video of the file, or a codec cannot encode it.
    """
    for codec in codecs.values():  # before the file is measured, which takes long
        check_encoder(codec.encoding.codec)
    folder.mkdir(parents=True, exist_ok=True)
    own = measure_in_new_process(EvaluationRequest(str(bitstream), open_source, device, vmaf=True))
    source = open_source()
    frames = Frames(source, range(source.frames))
    rows = [ComparisonRow(bitstream.name, own)]
    pictures = {"source": frames.frame(source.frames // 2), bitstream.name: _own_frame(bitstream, device)}
    for name, codec in ProgressBar(codecs.items(), "codecs", unit="codec"):
        target = folder / f"{name}.{codec.format}"
        value = nearest_quality(frames, codec, own["bytes"])
        rows.append(ComparisonRow(name, measure_codec(frames, target, _at(codec, value))))
        pictures[name] = _nth(decode_stream(target), source.frames // 2)[:, : source.height, : source.width]
    draw_crops(pictures, folder / "comparison.png")
    return rows


def nearest_quality(frames: Frames, codec: ReferenceCodec, size: int) -> int:
    """The value of the codec's quality option whose stream is nearest to `size` bytes, by bisection."""

    @cache
    def size_at(value: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / f"trial.{codec.format}"
            encode(frames, trial, _at(codec, value))
            return trial.stat().st_size

    low, high = codec.finest, codec.coarsest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size_at(middle) > size else (low, middle)
    return min((low, high), key=lambda value: abs(size_at(value) - size))


def table_of_comparison(rows: Sequence[ComparisonRow]) -> str:
    """The figures, a codec a line."""
    header = f"{'':<24}{'PSNR (dB)':>12}{'MS-SSIM':>12}{'VMAF':>12}{'bpp':>12}{'bytes':>14}"
    lines = [f"{row.name:<24}{''.join(_cell(name, row.figures.get(name)) for name in FIGURES)}" for row in rows]
    return "\n".join([header, *lines])


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return f"{'-':>12}"
    formats = {"psnr": ">12.2f", "ms_ssim": ">12.4f", "vmaf": ">12.1f", "bpp": ">12.4f", "bytes": ">14,"}
    return format(value, formats[name])


def _at(codec: ReferenceCodec, value: int) -> Encoding:
    options = {**codec.encoding.options, codec.rate_option: str(value)}
    return Encoding(codec.encoding.codec, options)


def _own_frame(bitstream: Path, device: str) -> Tensor:
    model = read_video(FileRanges(bitstream, "file"), choose_device(device))
    return next(model.render([model.video.frames // 2]))


def _nth(frames: Iterator[Tensor], number: int) -> Tensor:
    return next(frame for place, frame in enumerate(frames) if place == number)
