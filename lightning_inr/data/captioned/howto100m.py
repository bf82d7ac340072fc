"""HowTo100M (Miech et al. 2019): instructional videos of many tasks, with transcripts of their speech."""

from collections.abc import Collection, Iterable
from pathlib import Path

from lightning_inr.data.captioned.addresses import also_at_addresses
from lightning_inr.data.captioned.annotations import (
    field,
    make_segments,
    normalise_spaces,
    read_ids,
    read_lines,
    read_members,
    read_rows,
)
from lightning_inr.data.captioned.split import ROOT, CaptionedVideo, DatasetSplit, Segment, find_videos, list_found
from lightning_inr.data.published import PublishedDataset
from lightning_inr.errors import UserError

HOWTO100M = PublishedDataset(
    "HowTo100M",
    "howto100m",
    "https://www.di.ens.fr/willow/research/howto100m/",
    "HowTo100M_v1.csv, task_ids.csv, caption.json (or raw_caption.json) and <id>.mp4 (or .webm; in any folder below)",
    option=ROOT,
)


@also_at_addresses
def list_howto100m(
    root: str | None = None, manifest: str | None = None, captions: str = "caption.json", least_seconds: float = 0.0
) -> DatasetSplit:
    """The videos that `manifest` lists, one id per line, with their task and, as segments, their transcript.

    Speech recognition gives short segments: adjacent ones are joined until they last `least_seconds`; 0: not joined.
    """
    if manifest is None:
        reason = "there is no official subset of HowTo100M; name a text file with one video id a line"
        raise UserError(f"dataset.listing.manifest=null: {reason}")
    if not captions.endswith(".json"):
        reason = "only JSON is read (a pickle could run code); choose caption.json or raw_caption.json"
        raise UserError(f"dataset.listing.captions={captions}: {reason}")
    if not isinstance(least_seconds, int | float) or not least_seconds >= 0:
        raise UserError(f"dataset.listing.least_seconds={least_seconds}: choose a number from 0")
    ids = read_ids(manifest, "dataset.listing.manifest")
    folder = HOWTO100M.root(root)
    tasks = _read_tasks(folder, set(ids))
    transcripts = _read_transcripts(HOWTO100M.find(folder, captions)[0], set(ids))
    videos = (
        CaptionedVideo(id, Path(), tasks.get(id), segments=join_segments(transcripts.get(id, ()), least_seconds))
        for id in ids
    )
    return list_found(f"HowTo100M {Path(manifest).stem}", videos, find_videos(folder))


def _read_tasks(folder: Path, ids: Collection[str]) -> dict[str, str]:
    """Video id -> name of its task."""
    lines = (line.partition("\t") for line in read_lines(HOWTO100M.find(folder, "task_ids.csv")[0]))
    names = {task.strip(): normalise_spaces(name) for task, _, name in lines}
    rows = read_rows(HOWTO100M.find(folder, "HowTo100M_v1.csv")[0], "video_id", "task_id")
    return {video: names[task] for video, task in rows if video in ids and task in names}


def _read_transcripts(path: Path, ids: Collection[str]) -> dict[str, tuple[Segment, ...]]:
    """Video id -> transcript. The file has gigabytes: only the transcripts of `ids` are kept."""
    transcripts = {}
    for id, entry in read_members(path):
        if id in ids:
            where = f"{path}: {id}"
            starts, ends, texts = (field(entry, name, list, where) for name in ("start", "end", "text"))
            if len(starts) != len(ends):
                raise UserError(f"{where}: {len(starts)} starts but {len(ends)} ends; fetch the file anew")
            transcripts[id] = make_segments(list(zip(starts, ends, strict=True)), texts, where)
    return transcripts


def join_segments(segments: Iterable[Segment], least_seconds: float) -> tuple[Segment, ...]:
    """Adjacent segments joined until each lasts `least_seconds`; only the last may be shorter."""
    joined: list[Segment] = []
    for each in segments:
        last = joined[-1] if joined else None
        if last is not None and last.end - last.start < least_seconds:
            joined[-1] = Segment(last.start, max(last.end, each.end), f"{last.label} {each.label}")
        else:
            joined.append(each)
    return tuple(joined)
