"""A plain folder of videos as a captioned dataset; its captions, all optional, are files beside the videos.

VIDEO.mp4  VIDEO.txt  VIDEO.srt  OTHER/VIDEO.mkv  captions.csv
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from lightning_inr.data.captioned.addresses import copied
from lightning_inr.data.captioned.caption_files import CaptionRow, read_caption_table, read_captions, read_subtitles
from lightning_inr.data.captioned.split import ROOT, CaptionedVideo, DatasetSplit, Segment, files_below
from lightning_inr.errors import UserError, printable
from lightning_inr.paths import existing
from lightning_inr.ranges import is_address

# Names of videos that the readers of lightning_inr.data.sources support.
READABLE_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".wmv", ".asf",
    ".flv", ".ogv", ".3gp", ".3g2", ".mxf", ".nut", ".dv", ".rm", ".gif", ".ivf", ".h264", ".hevc", ".y4m", ".yuv",
)  # fmt: skip
SUBTITLES = (".srt", ".vtt", ".en.srt", ".en.vtt")  # ends of names; the first that exists is read
CAPTIONS = (".txt", ".srt", ".vtt")  # ends of names of all files with captions, but the table
TABLE = "captions.csv"
SEPARATOR = "__"  # of folders, in an id
UNSAFE = re.compile(r'[\\:*?"<>|]')  # not allowed in file names of every system, or with a meaning in URLs
LONGEST_ID = 200  # bytes; a file name has at most 255


def list_folder(root: str, captions: str | None = None) -> DatasetSplit:
    """Every video at any depth below `root`, a folder or an address, with the captions beside it and those of a table.

    The id of a video is its path below `root` (`make_ids`). Captions of a video are the lines of
    `NAME.txt`, segments the subtitles of `NAME.srt`, `NAME.vtt`, `NAME.en.srt` or `NAME.en.vtt`. `captions` names a CSV
    file, else `captions.csv` in `root` is read if it exists: columns `video` (id, or path below `root` with or without
    suffix), `caption`, and optionally `label`, the class of the video, and `start` and `end`, seconds; a caption with
    times is a segment. Videos that only the table names are `missing`. UserError if there is no video, or for a damaged
    caption file.
    """
    if is_address(root):
        return _list_remote(root.rstrip("/"), captions)
    folder = _check_folder(root)
    return _list_files(root, folder, [path for path in files_below(folder) if os.path.isfile(path)], captions)


def _list_remote(root: str, captions: str | None) -> DatasetSplit:
    """`list_folder` behind an address; its caption files are copied for as long as they are read."""
    tables = (TABLE, captions)
    with copied(root, lambda name: name in tables or name.lower().endswith(CAPTIONS)) as (folder, names):
        return _list_files(root, folder, [folder / name for name in names], captions)


def _list_files(root: str, folder: Path, files: Sequence[Path], captions: str | None) -> DatasetSplit:
    """The videos among the `files` below `folder`, a copy of `root` if that is an address."""
    paths = sorted(path for path in files if path.suffix.lower() in READABLE_SUFFIXES)
    if not paths:
        kinds = ", ".join(READABLE_SUFFIXES[:6])
        raise UserError(f"{ROOT}={root}: no video there or in a folder below; put some in it ({kinds} …)")
    names = [path.relative_to(folder).as_posix() for path in paths]
    lower_case = {f"{path.with_suffix('')}{path.suffix.lower()}": path for path in files}
    videos = {
        name: CaptionedVideo(id, f"{root}/{name}" if is_address(root) else path, None, *_read_beside(path, lower_case))
        for name, id, path in zip(names, make_ids(names), paths, strict=True)
    }
    table = _find_table(folder, captions)
    shown = root if is_address(root) else str(folder)
    return _add_rows(videos, [] if table is None else read_caption_table(table), str(table or shown), shown)


def _check_folder(root: str) -> Path:
    """The folder; UserError if it is missing, a file, or not readable."""
    folder = existing(str(root), ROOT)
    if not folder.is_dir():
        raise UserError(f"{ROOT}={root}: a file; name its folder, or fit the file with dataset=file dataset.path=…")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"{ROOT}={root}: permission denied; make the folder readable, as in chmod u+rx")
    return folder


def make_ids(names: Sequence[str]) -> list[str]:
    """Distinct ids for videos with these paths: usable as file names, so that none leaves the collection's folder.

    An id is the path with `__` between folders, whatever other videos there are. Paths that differ only in the Unicode
    form of their letters are numbered.
    """
    used: dict[str, None] = {}
    for name in names:
        id = _safe(name)
        candidates = chain([id], (f"{id}-{each}" for each in count(2)))
        used[next(each for each in candidates if each not in used)] = None
    return list(used)


def _safe(name: str) -> str:
    """`name` as a file name of at most `LONGEST_ID` bytes that ends with a hash of `name` unless it determines it.

    It does not if `name` is longer, has characters that file names cannot hold everywhere, which are replaced by `_`,
    or has `_` where it could be taken for a `/`.
    """
    composed = _composed(name)
    joined = UNSAFE.sub("_", composed.replace("/", SEPARATOR))
    safe = "".join(each if each.isprintable() else "_" for each in joined)
    if len(safe.encode()) <= LONGEST_ID and safe.replace(SEPARATOR, "/") == composed:
        return safe
    mark = hashlib.sha256(os.fsencode(composed)).hexdigest()[:16]
    return f"{safe.encode()[: LONGEST_ID - 17].decode(errors='ignore')}-{mark}"


def _composed(name: str) -> str:
    """`name` in Unicode's composed form: a letter with a diaeresis is one character, however a system writes it."""
    return unicodedata.normalize("NFC", name)


def _read_beside(video: Path, files: Mapping[str, Path]) -> tuple[tuple[str, ...], tuple[Segment, ...]]:
    """Captions and segments of a video from files with its name; `files`: by path with a suffix in lower case."""
    stem = str(video.with_suffix(""))
    text = files.get(f"{stem}.txt")
    subtitles = next((files[stem + end] for end in SUBTITLES if stem + end in files), None)
    return () if text is None else read_captions(text), () if subtitles is None else read_subtitles(subtitles)


def _find_table(folder: Path, captions: str | None) -> Path | None:
    """The table that `captions` names, from the current folder or else from `folder`; None if there is none."""
    if captions is None:
        return folder / TABLE if os.path.isfile(folder / TABLE) else None
    option, inside = "dataset.listing.captions", folder / str(captions)
    table = inside if os.path.isfile(inside) and not os.path.exists(captions) else existing(str(captions), option)
    if not table.is_file():
        raise UserError(f"{option}={captions}: not a file; name a CSV file")
    return table


def _add_rows(
    videos: Mapping[str, CaptionedVideo], rows: Sequence[CaptionRow], table: str, folder: str
) -> DatasetSplit:
    """The `videos`, by their paths below `folder`, with the rows of `table`; the names of others are `missing`."""
    names_of = _names_in_tables(videos)
    rows_of: dict[str, list[CaptionRow]] = {name: [] for name in videos}
    missing: dict[str, None] = {}
    for row in rows:
        written = _composed(row.video)
        found = names_of.get(written) or names_of.get(written.strip().removeprefix("./"), [])
        for name in found:
            rows_of[name].append(row)
        if not found:
            missing[printable(row.video)] = None
    if rows and not any(rows_of.values()):
        reason = f"neither {rows[0].video} nor another video of the table is in {folder}"
        raise UserError(f"{table}, line {rows[0].line}: {reason}; write paths below that folder, as {min(videos)}")
    described = tuple(_with_rows(video, rows_of[name], table) for name, video in videos.items())
    return DatasetSplit(f"folder {folder}", described, tuple(missing))


def _names_in_tables(videos: Mapping[str, CaptionedVideo]) -> dict[str, list[str]]:
    """What a table may call a video -> the paths of the videos: a path or an id, with or without suffix."""
    names_of: dict[str, list[str]] = {}
    for name in videos:
        stem = name.rpartition(".")[0]
        for written in {_composed(stem), _safe(stem)}:
            names_of.setdefault(written, []).append(name)
    by_id, by_path = {video.id: [name] for name, video in videos.items()}, {_composed(name): [name] for name in videos}
    return names_of | by_id | by_path


def _with_rows(video: CaptionedVideo, rows: Sequence[CaptionRow], table: str) -> CaptionedVideo:
    """`video` with the captions, segments and the label of these rows; UserError if they have different labels."""
    label = next((row.label for row in rows if row.label), None)
    other = next((row for row in rows if row.label not in (None, label)), None)
    if other is not None:
        reason = f"{video.id} is {other.label!r} here, {label!r} above; give a video one label"
        raise UserError(f"{table}, line {other.line}: {reason}")
    captions = (row.caption for row in rows if row.caption and row.span is None)
    segments = (Segment(*row.span, row.caption) for row in rows if row.caption and row.span is not None)
    return video._replace(label=label, captions=(*video.captions, *captions), segments=(*video.segments, *segments))
