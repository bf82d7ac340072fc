"""A folder of `.linr` files, and `collection.parquet`: what is known of each."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lightning_inr.data.captioned import Segment
from lightning_inr.data.file import open_video
from lightning_inr.data.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.paths import existing, writing
from lightning_inr.types import VideoShape

MANIFEST = "collection.parquet"
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
    """A video of a collection: its file, what is said of it, what the file reaches."""

    id: str
    path: str  # of the .linr file, within the collection's folder
    source: str  # JSON: the dataset options that open the video it was made from
    frames: int
    height: int  # pixels
    width: int  # pixels
    fps: float
    label: str | None
    captions: Sequence[str]
    segments: Sequence[Segment]  # in seconds of the file: its frame 0 is at 0
    teacher: str | None  # for people; the file itself says who aligned it
    bytes: int
    bpp: float
    psnr: float  # dB
    ms_ssim: float | None
    cos_seen: float | None  # of latents and the teacher's view of their frames, mean
    cos_held_out: float | None  # the same of the frames between seen ones, if there are any
    fit_seconds: float
    seconds: float  # from one video to the next, the fit among them
    unconverged: str | None = None  # what the fit lacks, with figures; older manifests do not say

    @classmethod
    def read(cls, values: dict[str, Any]) -> "Record":
        """From the values of a row."""
        segments = [Segment(each["start"], each["end"], each["label"]) for each in values["segments"]]
        return cls(**{**values, "segments": segments})

    def check(self) -> None:
        """ValueError for what no collection has: a file outside its folder, a video without frames or frame rate."""
        path = PurePath(self.path)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".linr":
            raise ValueError(f"the file of {self.id} is {self.path}, which is none of the folder's")
        if fault := VideoShape(self.frames, self.height, self.width, self.fps).fault:
            raise ValueError(f"{self.id} has {fault}")

    def values(self) -> dict[str, Any]:
        """A row's values, JSON among them."""
        return {**self._asdict(), "segments": [each._asdict() for each in self.segments]}


def write_manifest(folder: Path, records: Iterable[Record]) -> None:
    """`collection.parquet` of a folder, in one step."""
    table = pa.Table.from_pylist([record.values() for record in records], SCHEMA)
    with writing(folder / MANIFEST) as draft:
        pq.write_table(table, draft)


def read_manifest(folder: str | Path) -> list[Record]:
    """The videos of a collection; UserError if the folder is none, or its manifest is damaged."""
    path = existing(folder, "collection") / MANIFEST
    if not path.exists():
        raise UserError(f"collection={folder}: no {MANIFEST} there; name the folder that task=collect has left")
    try:
        records = [Record.read(row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]
        for record in records:
            record.check()
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged: {line}; run the same task=collect again to write it anew") from error
    return records


def open_original(record: Record) -> VideoSource:
    """The video a record was made from; UserError if it is gone."""
    try:
        return open_video(**json.loads(record.source))
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{MANIFEST}: the source of {record.id} cannot be read ({error}); collect it again") from error
