"""Readers of a user's own caption files: lines of text, subtitles (SRT, WebVTT), and a CSV table.

Every fault raises UserError, one line with the file, the line and the remedy. The files may come from anyone: sizes are
limited, and control characters are removed; tags in captions are plain text, those of subtitles are removed. Subtitles
are parsed here, because the libraries for them are lenient and do not say in which line a fault is.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import NamedTuple

from lightning_inr.data.captioned.annotations import normalise_spaces
from lightning_inr.data.captioned.split import Segment
from lightning_inr.errors import UserError

MOST_BYTES = 2**24  # of a caption file
LONGEST_CAPTION = 2000  # characters; CLIP reads about 300, and its tokenizer takes quadratic time for one long word
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"  # hours (optional), minutes, seconds, milliseconds
TIMING = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}(?:\s.*)?")  # a second group of four for the end; then settings of a cue
TAG = re.compile(r"</?[a-zA-Z\d][^<>]*>|\{\\[^{}]*\}")  # <i>, <c.yellow>, <00:00:01.000>, {\an8}
NOT_CUES = ("WEBVTT", "NOTE", "STYLE", "REGION")  # first words of the blocks of a .vtt file without a cue


class CaptionRow(NamedTuple):
    """A row of a caption table."""

    line: int  # of the file, from 1
    video: str  # its path or id
    caption: str  # may be empty if there is a label
    label: str | None  # class of the video
    span: tuple[float, float] | None  # the part that the caption describes, seconds; None: the whole video


def read_captions(path: Path) -> tuple[str, ...]:
    """One caption for each line that is not empty."""
    lines = enumerate(read_caption_lines(path), start=1)
    return tuple(caption for number, line in lines if (caption := _clean(line, f"{path}, line {number}")))


def read_subtitles(path: Path) -> tuple[Segment, ...]:
    """The cues of a `.srt` or `.vtt` file that have words, without their tags."""
    lines = read_caption_lines(path)
    is_vtt = path.suffix.lower() == ".vtt"
    if is_vtt and not lines[0].startswith("WEBVTT"):
        raise UserError(f"{path}, line 1: no WEBVTT there; write it as the first line, or rename the file to .srt")
    segments = []
    for number, block in _blocks(lines):
        if is_vtt and block[0].startswith(NOT_CUES):
            continue
        place = next((place for place, line in enumerate(block[:2]) if "-->" in line), None)
        where = f"{path}, line {number + (place or 0)}"
        if place is None:
            raise UserError(f"{where}: words without a time; write 00:00:01,000 --> 00:00:02,500 above them")
        start, end = _span(block[place], where)
        words = block[place + 1 :]
        if any("-->" in line for line in words):
            raise UserError(f"{where}: no empty line between this subtitle and the next; add one")
        if label := _clean(unescape(TAG.sub("", " ".join(words))), where):
            segments.append(Segment(start, end, label))
    return tuple(segments)


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The groups of lines between empty lines, each with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _span(line: str, where: str) -> tuple[float, float]:
    """Start and end of a subtitle, seconds."""
    match = TIMING.fullmatch(line)
    if match is None:
        raise UserError(f"{where}: not a time; write it as 00:00:01,000 --> 00:00:02,500")
    numbers = [match[group] or "0" for group in range(1, 9)]
    start, end = (
        3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{decimals}")
        for hours, minutes, seconds, decimals in (numbers[:4], numbers[4:])
    )
    if end < start:
        raise UserError(f"{where}: it ends at {end:g} s, before its start at {start:g} s; exchange the times")
    return start, end


def read_caption_table(path: Path) -> list[CaptionRow]:
    """The rows of a CSV file with the columns video and caption or label, and optionally start and end in seconds."""
    table = csv.DictReader(io.StringIO("\n".join(read_caption_lines(path))), strict=True)
    try:
        table.fieldnames = names = [name.strip().lower() for name in table.fieldnames or ()]
        if "video" not in names or not {"caption", "label"} & set(names):
            header = "its first line must be video,caption or video,caption,start,end,label"
            raise UserError(f"{path}, line 1: no columns video and caption; {header}; rename a file of other content")
        return [_row(row, table.line_num, f"{path}, line {table.line_num}") for row in table]
    except csv.Error as error:
        reason = f'not CSV ({error}); write a caption with commas or quotes as "…", and a quote in it as ""'
        raise UserError(f"{path}, line {table.line_num + 1}: {reason}") from error  # line_num: of the row before


def _row(row: dict[str | None, str | None], line: int, where: str) -> CaptionRow:
    if None in row:
        raise UserError(f'{where}: more fields than the first line has; write a caption with commas in quotes, "…"')
    video = row["video"] or ""
    caption, label, *times = (_clean(row.get(name) or "", where) for name in ("caption", "label", "start", "end"))
    if not video.strip() or not (caption or label):
        lacking = "caption and no label" if video.strip() else "video"
        raise UserError(f"{where}: no {lacking}; complete or remove the line")
    if times == ["", ""]:
        return CaptionRow(line, video, caption, label or None, None)
    start, end = (_seconds(text, where) for text in times)
    if end < start:
        raise UserError(f"{where}: it ends at {end:g} s, before its start at {start:g} s; exchange the times")
    return CaptionRow(line, video, caption, label or None, (start, end))


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{where}: start or end is {text[:40]!r}; write both as seconds from 0, as in 12.5, or neither")
    return seconds


def read_caption_lines(path: Path) -> list[str]:
    """All lines of a text file in UTF-8, empty ones included, at least one."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make the file readable, or remove it") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MiB; shorten it, or rename a file of other content")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        remedy = f"convert it, as in iconv -f WINDOWS-1252 -t UTF-8 '{path.name}' > new{path.suffix}"
        raise UserError(f"{path}, line {line}: not UTF-8; {remedy}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: not text; save it as text in UTF-8, or rename a file of other content")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _clean(text: str, where: str) -> str:
    """`text` with single spaces and without control characters; UserError if it is too long for a caption."""
    cleaned = normalise_spaces(CONTROL.sub(" ", text))
    if len(cleaned) > LONGEST_CAPTION:
        reason = f"{len(cleaned)} characters; a caption has at most {LONGEST_CAPTION}, write it as several"
        raise UserError(f"{where}: {reason}")
    return cleaned
