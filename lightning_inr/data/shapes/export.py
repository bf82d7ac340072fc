"""Export of `shapes` in the formats of COIN, MSR-VTT and ActivityNet Captions; an interrupted export is resumed."""

import csv
import io
import json
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from lightning_inr.data.shapes.grammar import TASKS, Story, draw_stories, steps_of
from lightning_inr.data.shapes.render import FPS, FRAMES, SCENE, render_video
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.errors import UserError
from lightning_inr.paths import write_text, writing
from lightning_inr.progress import ProgressBar

SETTINGS_FILE = "shapes.json"  # the first file written to the folder
LAST_FILE = "COIN.json"  # the last file written: if it exists, the export is complete
DURATION = FRAMES / FPS
ALL_STEPS = [step for task in TASKS for step in steps_of(task)]  # in the order of their numbers in COIN.json
LOSSLESS = Encoding("libx264", {"qp": "0", "preset": "superfast"})  # except for 4:2:0; smaller than crf 4 on flat areas


class ExportedVideo(NamedTuple):
    """A video of the dataset."""

    id: str  # video0 …, as in MSR-VTT
    story: Story
    held_out: bool  # whether it is in the test split


def export(root: Path, videos: int, seed: int) -> None:
    """Render the missing ones of `videos` videos per split into `root`; UserError if `root` holds other files."""
    _check_folder(root, {"videos": videos, "seed": seed})
    if (root / LAST_FILE).exists():
        return
    entries = list_entries(videos, seed)
    for entry in ProgressBar(entries, f"render {root}", unit="video", leave=False):
        target = root / "videos" / f"{entry.id}.mp4"
        if not target.exists():
            frames = render_video(entry.story, Random(f"{seed} {entry.id}"))
            with writing(target) as draft:
                encode_video(frames, draft, FPS, LOSSLESS)
    _write_msrvtt(root, entries)
    _write_activitynet(root, entries)
    _write_json(root / LAST_FILE, {"database": {entry.id: _coin(entry) for entry in entries}})


def list_entries(videos: int, seed: int) -> list[ExportedVideo]:
    """`videos` videos of the test split, then as many of the training split; equal for equal `seed`."""
    stories = [
        (story, held_out)
        for held_out in (True, False)
        for story in draw_stories(Random(f"{seed} {held_out}"), held_out, videos)
    ]
    return [ExportedVideo(f"video{number}", *each) for number, each in enumerate(stories)]


def _check_folder(root: Path, settings: dict[str, int]) -> None:
    """Write the settings to a new folder; UserError if it holds other files, or was rendered with other settings."""
    path = root / SETTINGS_FILE
    existing = {file.name for file in root.iterdir() if file.name[0] != "."} if root.is_dir() else set()
    if SETTINGS_FILE in existing:
        written = path.read_text()
        if written != json.dumps(settings):
            raise UserError(
                f"dataset.listing.root={root} was rendered with {written}, not {json.dumps(settings)}; "
                "use those settings, choose another root, or delete this one"
            )
    elif existing or root.is_file():
        raise UserError(f"dataset.listing.root={root}: something else is there; choose an empty folder or a new one")
    else:
        write_text(path, json.dumps(settings))


def _segments(story: Story) -> list[tuple[float, float]]:
    """Start and end of each step in seconds; the end lies between its last frame and the next."""
    return [(index * SCENE / FPS, ((index + 1) * SCENE - 0.5) / FPS) for index in range(len(story.steps))]


def _coin(entry: ExportedVideo) -> dict[str, Any]:
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


def _write_activitynet(root: Path, entries: list[ExportedVideo]) -> None:
    """Write train.json and val_1.json, and their lists of ids."""
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


def _write_msrvtt(root: Path, entries: list[ExportedVideo]) -> None:
    """Write a file with all captions, and one with a caption per test video."""
    videos = [
        {"category": TASKS.index(entry.story.task), "url": "", "video_id": entry.id, "start time": 0.0,
         "end time": DURATION, "split": "test" if entry.held_out else "train", "id": number}
        for number, entry in enumerate(entries)
    ]  # fmt: skip
    captions = [(caption, entry.id) for entry in entries for caption in entry.story.captions]
    sentences = [{"caption": text, "video_id": id, "sen_id": number} for number, (text, id) in enumerate(captions)]
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
