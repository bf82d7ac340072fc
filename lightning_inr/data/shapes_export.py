"""`shapes` on disk, as COIN, MSR-VTT and ActivityNet Captions lie there; a killed rendering goes on where it was."""

import csv
import io
import json
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tqdm import tqdm

from lightning_inr.data.shapes_grammar import TASKS, Story, draw_stories, steps_of
from lightning_inr.data.shapes_render import FPS, FRAMES, SCENE, render_video
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.errors import UserError
from lightning_inr.paths import write_text, writing

SETTINGS = "shapes.json"  # the first file of the folder
LAST = "COIN.json"  # and the last: where it is, all is
DURATION = FRAMES / FPS
ALL_STEPS = [step for task in TASKS for step in steps_of(task)]  # as COIN numbers them
LOSSLESS = Encoding("libx264", {"qp": "0", "preset": "superfast"})  # but for 4:2:0; smaller than crf 4 on flat areas


class Entry(NamedTuple):
    """A video of the collection."""

    id: str  # video0 …, as MSR-VTT counts
    story: Story
    held_out: bool  # of the test split


def export(root: Path, videos: int, seed: int) -> None:
    """Render so many `videos` of each split into `root`, those that are not there; UserError if it holds others."""
    _claim(root, {"videos": videos, "seed": seed})
    if (root / LAST).exists():
        return
    entries = list_entries(videos, seed)
    for entry in tqdm(entries, f"render {root}", unit="video", leave=False):
        target = root / "videos" / f"{entry.id}.mp4"
        if not target.exists():
            frames = render_video(entry.story, Random(f"{seed} {entry.id}"))
            with writing(target) as draft:
                encode_video(frames, draft, FPS, LOSSLESS)
    _write_msrvtt(root, entries)
    _write_activitynet(root, entries)
    _write_json(root / LAST, {"database": {entry.id: _coin(entry) for entry in entries}})


def list_entries(videos: int, seed: int) -> list[Entry]:
    """So many videos of the test split, then as many that may be trained on; the same for the same `seed`."""
    stories = [
        (story, held_out)
        for held_out in (True, False)
        for story in draw_stories(Random(f"{seed} {held_out}"), held_out, videos)
    ]
    return [Entry(f"video{number}", *each) for number, each in enumerate(stories)]


def _claim(root: Path, settings: dict[str, int]) -> None:
    """Put the settings into a new folder; UserError if it is another's, or of other settings."""
    path = root / SETTINGS
    there = {file.name for file in root.iterdir() if file.name[0] != "."} if root.is_dir() else set()
    if SETTINGS in there:
        written = path.read_text()
        if written != json.dumps(settings):
            raise UserError(
                f"dataset.listing.root={root} was rendered with {written}, not {json.dumps(settings)}; "
                "ask for those, choose another root, or delete this one"
            )
    elif there or root.is_file():
        raise UserError(f"dataset.listing.root={root}: something else is there; choose an empty folder or a new one")
    else:
        write_text(path, json.dumps(settings))


def _segments(story: Story) -> list[tuple[float, float]]:
    """Seconds in which each step is to be seen; an end lies between the last frame and the next."""
    return [(index * SCENE / FPS, ((index + 1) * SCENE - 0.5) / FPS) for index in range(len(story.steps))]


def _coin(entry: Entry) -> dict[str, Any]:
    return {
        "duration": DURATION,
        "class": entry.story.task.name,
        "video_url": "",
        "start": 0.0,
        "end": DURATION,
        "subset": "testing" if entry.held_out else "training",
        "recipe_type": TASKS.index(entry.story.task),
        "annotation": [
            {"id": str(1 + ALL_STEPS.index(step)), "segment": segment, "label": step.label}
            for step, segment in zip(entry.story.steps, _segments(entry.story), strict=True)
        ],
    }


def _write_activitynet(root: Path, entries: list[Entry]) -> None:
    """train.json and val_1.json, and their lists of ids."""
    for name, ids, held_out in (("train", "train_ids", False), ("val_1", "val_ids", True)):
        captions = {
            f"v_{entry.id}": {
                "duration": DURATION,
                "timestamps": _segments(entry.story),
                "sentences": entry.story.sentences,
            }
            for entry in entries
            if entry.held_out == held_out
        }
        _write_json(root / f"{name}.json", captions)
        _write_json(root / f"{ids}.json", list(captions))


def _write_msrvtt(root: Path, entries: list[Entry]) -> None:
    """All captions, and one of each test video."""
    videos = [
        {"category": TASKS.index(entry.story.task), "url": "", "video_id": entry.id, "start time": 0.0,
         "end time": DURATION, "split": "test" if entry.held_out else "train", "id": number}
        for number, entry in enumerate(entries)
    ]  # fmt: skip
    said = [(caption, entry.id) for entry in entries for caption in entry.story.captions]
    sentences = [{"caption": text, "video_id": id, "sen_id": number} for number, (text, id) in enumerate(said)]
    _write_json(root / "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})

    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["key", "vid_key", "video_id", "sentence"])
    for number, entry in enumerate(entry for entry in entries if entry.held_out):
        key = entry.id.removeprefix("video")
        writer.writerow([f"ret{number}", f"msr{key}", entry.id, entry.story.captions[0]])
    write_text(root / "MSRVTT_JSFUSION_test.csv", table.getvalue())


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value) + "\n")
