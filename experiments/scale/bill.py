"""What a collection costs, by the coefficients that measure.py has found: `python -m experiments.scale.bill`.

Prints Markdown: the coefficients, the prediction for a run that they were not fitted on, and the bill of 10^4, 10^6 and
10^9 videos. A frame has `pixels` pixels, a video `frames` frames, and its fit takes `steps` steps of one frame each.
"""

import csv
import json
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / "bench" / "results.csv"
RATE_WEIGHT = 0.001  # of the files of BENCH whose size is taken
CLIPS = 13
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Videos:
    """A collection to be made."""

    number: int
    frames: int  # of each
    pixels: int  # of a frame
    steps: int  # of a fit


BUNNY = Videos(1, 132, 180 * 320, 5000)  # the bundled clip, and steps of the default effort


@dataclass(frozen=True)
class Coefficients:
    """Seconds are of one core of the measured machine, on one thread, unless they are of a clock."""

    command: float  # seconds to start a command and its measuring process
    video: float  # seconds of a video of no size
    step: float  # seconds of a step
    step_pixel: float  # and of each pixel of its frame
    step_video_pixel: float  # and of each pixel of the whole video: tables, optimiser and rate cover all of it
    video_pixel: float  # seconds to read, encode, decode and measure a pixel of the video
    bits_per_pixel: float  # of a file
    index_frame: float  # bytes
    index_seconds: float  # to add a frame to the index, its training included
    query: float  # seconds of a query to an empty index
    query_frame: float  # and of each frame in it
    ray_task: float  # seconds of a clock for a task that does nothing
    submitit_job: float  # the same for a job
    speedup: float  # of two workers against one


def step_seconds(cost: Coefficients, videos: Videos) -> float:
    """Core seconds of a step of one video."""
    return cost.step + (cost.step_pixel + cost.step_video_pixel * videos.frames) * videos.pixels


def fit_seconds(cost: Coefficients, videos: Videos) -> float:
    """Core seconds of one video, without the start of a command."""
    steps = videos.steps * step_seconds(cost, videos)
    return cost.video + steps + cost.video_pixel * videos.frames * videos.pixels


def command_seconds(cost: Coefficients, videos: Videos) -> float:
    """Core seconds of one command that makes the collection."""
    return cost.command + videos.number * fit_seconds(cost, videos)


def stored_bytes(cost: Coefficients, videos: Videos) -> float:
    """Bytes of all files."""
    return videos.number * videos.frames * videos.pixels * cost.bits_per_pixel / 8


def index_bytes(cost: Coefficients, videos: Videos, rows: int) -> float:
    """Bytes of an IVF-PQ index with `rows` vectors a video: all frames, or fewer."""
    return videos.number * rows * cost.index_frame


def query_seconds(cost: Coefficients, videos: Videos, rows: int) -> float:
    """Core seconds of a query to one index of all, whose number of lists does not grow."""
    return cost.query + videos.number * rows * cost.query_frame


def read_coefficients(found: dict[str, Any]) -> Coefficients:
    """Fit the coefficients to what measure.py has written; times of fits by least squares of relative errors.

    To the collections is added the bundled clip of experiments/bench, whose steps alone were timed.
    """
    rows, seconds = [], []
    for name, figures in found.items():
        if name.startswith("collect "):
            videos = _videos(name)
            total = videos.frames * videos.pixels
            row = [1, videos.steps, videos.steps * videos.pixels, videos.steps * total, total]
            rows.append([videos.number * each for each in row])
            seconds.append(figures["cpu_seconds"])
    [bunny] = [row for row in _bench_rows() if row["clip"] == "bunny"]  # larger than shapes can be
    steps = int(bunny["steps"])
    rows.append([0, steps, steps * BUNNY.pixels, steps * BUNNY.pixels * BUNNY.frames, 0])
    seconds.append(float(bunny["fit_seconds"]))
    weights = 1 / np.array(seconds)
    scale = np.max(rows, axis=0)
    scaled, _ = nnls(np.array(rows) / scale * weights[:, None], np.ones(len(rows)))
    video, step, step_pixel, step_video_pixel, video_pixel = map(float, scaled / scale)
    smallest, *_ = _commands(found)
    small, large = sorted((int(name.split()[1]), figures) for name, figures in found.items() if name[:6] == "index ")
    per_frame = {
        name: (large[1][name] - small[1][name]) / (large[0] - small[0])
        for name in ("bytes", "cpu_seconds", "query_seconds")
    }
    without = Coefficients(
        0.0, video, step, step_pixel, step_video_pixel, video_pixel,
        bits_per_pixel=_bench_bits(),
        index_frame=per_frame["bytes"],
        index_seconds=per_frame["cpu_seconds"],
        query=max(0.0, small[1]["query_seconds"] - small[0] * per_frame["query_seconds"]),
        query_frame=max(0.0, per_frame["query_seconds"]),
        ray_task=_clock(found, "ray"),
        submitit_job=_clock(found, "submitit"),
        speedup=2 * _clock(found, "workers 1") / _clock(found, "workers 2"),
    )  # fmt: skip
    command = found[smallest]["cpu_seconds"] - command_seconds(without, _videos(smallest))
    return Coefficients(**{**without.__dict__, "command": command})


def _clock(found: dict[str, Any], name: str) -> float:
    """Seconds of a part; not a number if it is not measured yet."""
    return float(found[name]["seconds"]) if name in found else math.nan


def _commands(found: dict[str, Any]) -> list[str]:
    """Names of whole commands, the smallest first."""
    return sorted((name for name in found if name.startswith("command ")), key=lambda name: found[name]["cpu_seconds"])


def _videos(name: str) -> Videos:
    number, side, frames, steps = map(int, re.findall(r"\d+", name))
    return Videos(number, frames, side * side, steps)


def _bench_bits() -> float:
    """Median bits per pixel of the default model over the clips of experiments/bench, at one λ."""
    return statistics.median(float(row["bpp"]) for row in _bench_rows())


def _bench_rows() -> list[dict[str, str]]:
    """The fits of the default model of a minute at one λ, a clip each."""
    with BENCH.open() as file:
        return [row for row in csv.DictReader(file) if _key(row) == ("latent_inr_grids", "", RATE_WEIGHT)][:CLIPS]


def _key(row: dict[str, str]) -> tuple[str, str, float]:
    return row["model"], row["size"], float(row["rate_weight"] or 0)


def check(cost: Coefficients, found: dict[str, Any]) -> list[list[str]]:
    """Predicted and measured core seconds of the commands that no coefficient of a fit comes from."""
    rows = []
    for name in _commands(found)[1:]:
        videos, measured = _videos(name), found[name]["cpu_seconds"]
        predicted = command_seconds(cost, videos)
        size = f"{videos.frames} frames of {videos.pixels} pixels, {videos.steps} steps"
        off = 100 * (predicted / measured - 1)
        rows.append([f"{videos.number} videos, {size}", f"{measured:.1f}", f"{predicted:.1f}", f"{off:+.0f} %"])
    return rows


def bill(cost: Coefficients, each: Videos) -> list[list[str]]:
    """A column for each number of videos."""
    sizes = [Videos(number, each.frames, each.pixels, each.steps) for number in (10**4, 10**6, 10**9)]
    hours = [videos.number * fit_seconds(cost, videos) / HOUR for videos in sizes]
    return [
        ["core hours of fits", *(f"{hour:,.0f}" for hour in hours)],
        ["cores that do it in 30 days", *(f"{hour * HOUR / DAY / 30:,.1f}" for hour in hours)],
        ["files", *(_bytes(stored_bytes(cost, videos)) for videos in sizes)],
        ["index, every frame", *(_bytes(index_bytes(cost, videos, videos.frames)) for videos in sizes)],
        ["index, 4 vectors a video", *(_bytes(index_bytes(cost, videos, 4)) for videos in sizes)],
        ["core hours of the index, every frame",
         *(f"{videos.number * videos.frames * cost.index_seconds / HOUR:,.1f}" for videos in sizes)],
        ["query, every frame, one core", *(_seconds(query_seconds(cost, videos, videos.frames)) for videos in sizes)],
        ["query, 4 vectors a video, one core", *(_seconds(query_seconds(cost, videos, 4)) for videos in sizes)],
        ["one Ray driver hands out all tasks in", *(_seconds(videos.number * cost.ray_task) for videos in sizes)],
        ["the same as submitit jobs of a video each",
         *(_seconds(videos.number * cost.submitit_job) for videos in sizes)],
        ["listing a bucket, 1,000 names in 0.1 s", *(_seconds(videos.number / 1000 * 0.1) for videos in sizes)],
    ]  # fmt: skip


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} PB"


def _seconds(number: float) -> str:
    if math.isnan(number):
        return "not measured"
    for unit, seconds in (("days", DAY), ("h", HOUR), ("min", 60.0), ("s", 1.0)):
        if number >= seconds:
            return f"{number / seconds:,.1f} {unit}"
    return f"{number * 1000:.2g} ms"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def main() -> None:
    """Print all tables."""
    found = json.loads((HERE / "coefficients.json").read_text())
    cost = read_coefficients(found)
    if found["disturbed"]:
        print("**Measured while other programs ran.**\n")
    print(table(["coefficient", "value"], [[name, f"{value:.4g}"] for name, value in cost.__dict__.items()]))
    print("\n" + table(["not fitted on", "core seconds", "predicted", "off by"], check(cost, found)))
    print("\n" + table(["", "10⁴ videos", "10⁶", "10⁹"], bill(cost, BUNNY)))


if __name__ == "__main__":
    main()
