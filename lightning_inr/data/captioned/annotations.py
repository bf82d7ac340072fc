"""Readers of published annotations: JSON of any size, CSV tables, lists of ids; a fault raises UserError, one line."""

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import ijson

from lightning_inr.data.captioned.split import Segment
from lightning_inr.errors import UserError
from lightning_inr.paths import existing

DEEPEST = 16  # levels of JSON; published annotations have five
T = TypeVar("T")


def read_members(path: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of the JSON object at `prefix`, one at a time; UserError if there is none."""
    return _stream(path, prefix, ijson.kvitems)


def read_elements(path: Path, prefix: str) -> Iterator[Any]:
    """The elements of the JSON list at `prefix` (`videos.item`), one at a time; UserError if there is none."""
    return _stream(path, prefix, ijson.items)


def _stream(path: Path, prefix: str, pick: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    empty = True
    try:
        with path.open("rb") as file:
            events = ijson.basic_parse(NullForNaN(file), use_float=True)
            for entry in pick(ijson.parse(_shallow(events)), prefix):
                empty = False
                yield entry
    except (OSError, ijson.JSONError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged, or not JSON"
        raise UserError(f"{path}: {reason}; fetch it anew") from error
    if empty:
        raise UserError(f"{path}: nothing at {prefix or 'its top'}; name the annotations as they are published")


def _shallow(events: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The same events, with limited nesting: ijson stores the path at every level, so deep nesting fills the memory."""
    depth = 0
    for event, value in events:
        if event in ("start_map", "start_array"):
            depth += 1
            if depth > DEEPEST:
                raise ijson.JSONError("nested too deeply")
        elif event in ("end_map", "end_array"):
            depth -= 1
        yield event, value


class NullForNaN:
    """A JSON file in which NaN, which Python writes for an absent value but JSON does not allow, is read as null."""

    NAN = re.compile(rb'(?<![\w"])NaN(?![\w"])')

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        while block.endswith((b"N", b"a")) and (more := self.file.read(1)):  # no NaN may be split between two blocks
            block += more
        return self.NAN.sub(b"null", block)


def read_rows(path: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """These `columns` of every row of a CSV file with a header; UserError if one is missing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            absent = [column for column in columns if column not in (table.fieldnames or ())]
            if absent:
                raise UserError(f"{path}: no column {', '.join(absent)}; name the table as it is published")
            for row in table:
                if any(row[column] is None for column in columns):
                    raise UserError(f"{path}: line {table.line_num} is cut short; fetch it anew")
                yield tuple(row[column].strip() for column in columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: damaged, or not CSV ({error}); fetch it anew") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without surrounding white space."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a text file ({error}); name another") from error


def read_ids(path: str, option: str) -> list[str]:
    """The distinct ids of a text file, one per line, or of a JSON list, such as val_ids.json."""
    found = existing(path, option)
    ids = map(str, read_elements(found, "item")) if found.suffix == ".json" else read_lines(found)
    distinct = list(dict.fromkeys(ids))
    if not distinct:
        raise UserError(f"{option}={path}: the file is empty; write one video id a line")
    return distinct


def field(entry: object, name: str, kind: type[T], where: str) -> T:
    """The value of `entry[name]`; UserError, naming the file and the video (`where`), unless it is of type `kind`."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise UserError(f"{where}: no {name!r} that is a {kind.__name__}; fetch the file anew")
    return value


def normalise_spaces(text: str) -> str:
    """`text` with single spaces between words, and none around it."""
    return " ".join(text.split())


def make_segments(times: Sequence[object], labels: Sequence[object], where: str) -> tuple[Segment, ...]:
    """Segments from pairs of seconds and from texts; UserError if a pair is not two numbers, or the counts differ.

    Reversed or negative segments, and those without words, are left out: published files have a few of each.
    """
    if len(times) != len(labels):
        raise UserError(f"{where}: {len(times)} segments but {len(labels)} texts; fetch the file anew")
    seconds = [_seconds(pair, where) for pair in times]
    texts = [normalise_spaces(label) if isinstance(label, str) else "" for label in labels]
    made = (Segment(start, end, text) for (start, end), text in zip(seconds, texts, strict=True))
    return tuple(each for each in made if 0 <= each.start <= each.end and each.label)


def _seconds(pair: object, where: str) -> tuple[float, float]:
    numbers = list(pair) if isinstance(pair, list | tuple) else []
    if len(numbers) != 2 or not all(each is None or isinstance(each, int | float) for each in numbers):
        raise UserError(f"{where}: a segment is not two numbers; fetch the file anew")
    start, end = (math.nan if each is None else float(each) for each in numbers)
    return start, end
