"""A folder of `.linr` files with `collection.parquet`, a table of their annotations and figures."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lightning_inr.data.captioned.split import Segment
from lightning_inr.data.sources.file import open_video
from lightning_inr.data.sources.remote import without_copies
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.paths import existing, writing
from lightning_inr.ranges import is_address
from lightning_inr.storage import open_folder
from lightning_inr.types import VideoShape

MANIFEST = "collection.parquet"
ROWS = 10_000  # of the manifest, written at once
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("source", pa.string()),
        ("frames", pa.int64()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("fps", pa.float64()),
        ("label", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("segments", pa.list_(pa.struct([("start", pa.float64()), ("end", pa.float64()), ("label", pa.string())]))),
        ("teacher", pa.string()),
        ("bytes", pa.int64()),
        ("bpp", pa.float64()),
        ("psnr", pa.float64()),
        ("ms_ssim", pa.float64()),
        ("cos_seen", pa.float64()),
        ("cos_held_out", pa.float64()),
        ("fit_seconds", pa.float64()),
        ("seconds", pa.float64()),
        ("unconverged", pa.string()),
    ]
)


class Record(NamedTuple):
    """A video of a collection: its file, its annotations and its figures."""

    id: str
    path: str  # of the .linr file, relative to the collection's folder
    source: str  # JSON: the dataset options that open the video it was made from
    frames: int  # number of frames
    height: int  # pixels
    width: int  # pixels
    fps: float  # frames per second
    label: str | None  # class of the video
    captions: Sequence[str]
    segments: Sequence[Segment]  # in seconds of the file; its frame 0 is at 0 s
    teacher: str | None  # its name, for display; the file holds the embedding space that counts
    bytes: int  # of the file
    bpp: float  # bits per pixel
    psnr: float  # dB
    ms_ssim: float | None
    cos_seen: float | None  # mean cosine of frame embeddings and teacher embeddings, training frames
    cos_held_out: float | None  # the same for held-out frames; None without any
    fit_seconds: float  # of the fit
    seconds: float  # for the whole video, the fit included
    unconverged: str | None = None  # why the fit has not converged, with figures; None in older manifests

    @classmethod
    def read(cls, values: dict[str, Any]) -> "Record":
        """A record from the values of a row."""
        segments = [Segment(each["start"], each["end"], each["label"]) for each in values["segments"]]
        return cls(**{**values, "segments": segments})

    def check(self) -> None:
        """ValueError for a file outside the collection's folder, or an invalid size, frame count or frame rate."""
        path = PurePath(self.path)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".linr":
            raise ValueError(f"the file of {self.id} is {self.path}, which is not a .linr file of this folder")
        if fault := VideoShape(self.frames, self.height, self.width, self.fps).fault:
            raise ValueError(f"{self.id} has {fault}")

    def values(self) -> dict[str, Any]:
        """The values of a row."""
        return {**self._asdict(), "segments": [each._asdict() for each in self.segments]}


def file_address(folder: str | Path, name: str) -> str | Path:
    """The path or the URL of a file in a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_address(folder) else Path(folder) / name


def write_manifest(folder: Path, records: Iterable[Record]) -> None:
    """Write `collection.parquet` of a folder in one step, so that it is never partial; holds ROWS records at a time."""
    rows = (record.values() for record in records)
    with writing(folder / MANIFEST) as draft, pq.ParquetWriter(draft, SCHEMA) as writer:
        chunk = list(islice(rows, ROWS))
        while True:
            writer.write_table(pa.Table.from_pylist(chunk, SCHEMA))
            if not (chunk := list(islice(rows, ROWS))):
                return


def read_manifest(folder: str | Path) -> list[Record]:
    """The records of a collection, on disk or behind a URL; UserError if it has no manifest, or a damaged one."""
    if not is_address(folder):
        folder = existing(folder, "collection")
    try:
        data = open_folder(folder, "collection").read(MANIFEST)
    except FileNotFoundError as error:
        remedy = "name a folder written by task=collect"
        raise UserError(f"collection={folder}: no {MANIFEST} there; {remedy}") from error
    try:
        records = [Record.read(row) for row in pq.read_table(pa.BufferReader(data), schema=SCHEMA).to_pylist()]
        for record in records:
            record.check()
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        line, path = str(error).splitlines()[0], file_address(folder, MANIFEST)
        raise UserError(f"{path} is damaged: {line}; run the same task=collect again to rewrite it") from error
    return records


def open_original(record: Record) -> VideoSource:
    """Open the source video of a record; UserError if it is missing."""
    try:
        return open_video(**json.loads(record.source))
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{MANIFEST}: the source of {record.id} cannot be read ({error}); collect it again") from error


@contextmanager
def original(record: Record) -> Iterator[VideoSource]:
    """Open the source video of a record; at the end of the context, the copy of one behind a URL is removed."""
    with ExitStack() as stack:
        with suppress(TypeError, ValueError, KeyError):  # of which `open_original` gives the reason
            stack.enter_context(without_copies([json.loads(record.source)["path"]]))
        yield open_original(record)
