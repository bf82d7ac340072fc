"""COIN (Tang et al. 2019): instructional videos, each of one task, with segments for the steps of the task."""

import re
from pathlib import Path

from lightning_inr.data.captioned.addresses import also_at_addresses
from lightning_inr.data.captioned.annotations import field, make_segments, read_members
from lightning_inr.data.captioned.split import ROOT, CaptionedVideo, DatasetSplit, check_split, find_videos, list_found
from lightning_inr.data.published import PublishedDataset

COIN = PublishedDataset(
    "COIN",
    "coin",
    "https://coin-dataset.github.io",
    "COIN.json and videos/<recipe_type>/<id>.mp4 (or .webm, .mkv, in any folder below)",
    option=ROOT,
)
EVALUATION = ("testing", "validation")  # the paper and the annotations name the split differently
INSIDE_WORD = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


@also_at_addresses
def list_coin(root: str | None = None, split: str = "testing", annotations: str = "COIN.json") -> DatasetSplit:
    """Videos with their task and steps; `testing` and `validation` are one split, all others are `training`."""
    check_split(split, (*EVALUATION, "training"))
    folder = COIN.root(root)
    path = COIN.find(folder, annotations)[0]
    videos = (
        _read(id, entry, f"{path}: {id}")
        for id, entry in read_members(path, "database")
        if (field(entry, "subset", str, f"{path}: {id}") in EVALUATION) == (split in EVALUATION)
    )
    return list_found(f"COIN {split}", videos, find_videos(folder))


def _read(id: str, entry: object, where: str) -> CaptionedVideo:
    steps = field(entry, "annotation", list, where)
    times = [field(step, "segment", list, where) for step in steps]
    labels = [field(step, "label", str, where) for step in steps]
    label = split_camel_case(field(entry, "class", str, where))
    return CaptionedVideo(id, Path(), label, segments=make_segments(times, labels, where))


def split_camel_case(name: str) -> str:
    """ReplaceCDDrive -> replace CD drive."""
    words = INSIDE_WORD.sub(" ", name).split()
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)
