"""MSR-VTT (Xu et al. 2016): 10,000 short clips with twenty captions each; and the 1k-A test split (Yu et al. 2018)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_inr.data.captioned.addresses import also_at_addresses
from lightning_inr.data.captioned.annotations import field, normalise_spaces, read_elements, read_rows
from lightning_inr.data.captioned.split import ROOT, CaptionedVideo, DatasetSplit, check_split, find_videos, list_found
from lightning_inr.data.published import PublishedDataset
from lightning_inr.errors import UserError

MSRVTT = PublishedDataset(
    "MSR-VTT",
    "msrvtt",
    "https://github.com/ArrowLuo/CLIP4Clip (its section on data)",
    "MSRVTT_JSFUSION_test.csv, MSRVTT_data.json and video0.mp4 … (in any folder below)",
    option=ROOT,
)
ANNOTATIONS = ("MSRVTT_data.json", "train_val_videodatainfo.json", "test_videodatainfo.json")
SINGLE_CAPTION_SPLITS = {"1k": "MSRVTT_JSFUSION_test.csv"}
LISTED_SPLITS = {"train_9k": "MSRVTT_train.9k.csv", "train_7k": "MSRVTT_train.7k.csv"}
OFFICIAL_SPLITS = {"full": "test", "train": "train", "validate": "validate"}


class AnnotatedClip(NamedTuple):
    """A clip as the annotations describe it."""

    split: str
    captions: list[str]


@also_at_addresses
def list_msrvtt(root: str | None = None, split: str = "1k") -> DatasetSplit:
    """Clips with their captions: one each (`1k`), or all (`full`, `train`, `validate`, `train_9k`, `train_7k`)."""
    check_split(split, (*SINGLE_CAPTION_SPLITS, *OFFICIAL_SPLITS, *LISTED_SPLITS))
    folder = MSRVTT.root(root)
    if split in SINGLE_CAPTION_SPLITS:
        captions = _read_sentences(MSRVTT.find(folder, SINGLE_CAPTION_SPLITS[split])[0])
    else:
        clips = _read_clips(MSRVTT.find(folder, *ANNOTATIONS))
        if split in LISTED_SPLITS:
            captions = _choose(clips, MSRVTT.find(folder, LISTED_SPLITS[split])[0])
        else:
            captions = {id: clip.captions for id, clip in clips.items() if clip.split == OFFICIAL_SPLITS[split]}
    videos = (CaptionedVideo(id, Path(), captions=tuple(each)) for id, each in captions.items())
    return list_found(f"MSR-VTT {split}", videos, find_videos(folder))


def _read_sentences(path: Path) -> dict[str, Sequence[str]]:
    """Clip id -> its caption, from a table with one caption per clip."""
    return {id: [normalise_spaces(sentence)] for id, sentence in read_rows(path, "video_id", "sentence")}


def _read_clips(paths: Iterable[Path]) -> dict[str, AnnotatedClip]:
    """Clip id -> its split and its captions.

    `start time` and `end time` (keys with a space) refer to the source video; the files on disk are already cut.
    """
    clips: dict[str, AnnotatedClip] = {}
    for path in paths:
        where = str(path)
        in_file = {
            field(video, "video_id", str, where): AnnotatedClip(field(video, "split", str, where), [])
            for video in read_elements(path, "videos.item")
        }
        for sentence in read_elements(path, "sentences.item"):
            id, caption = (field(sentence, name, str, where) for name in ("video_id", "caption"))
            if id in in_file and caption.strip():
                in_file[id].captions.append(normalise_spaces(caption))
        clips |= in_file  # a clip in two of the files keeps its twenty captions
    return clips


def _choose(clips: dict[str, AnnotatedClip], path: Path) -> dict[str, Sequence[str]]:
    """The captions of the clips that a table lists."""
    ids = [id for (id,) in read_rows(path, "video_id")]
    absent = next((id for id in ids if id not in clips), None)
    if absent is not None:
        raise UserError(f"{path}: lists {absent}, of which no caption is there; add MSRVTT_data.json beside it")
    return {id: clips[id].captions for id in ids}
