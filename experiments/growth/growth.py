"""Growth of fitting time, memory, file size and decoding speed of the default with frames, pixels and rank.

    python experiments/growth/growth.py [--epochs 3]

Fits of a few epochs, one after the other, on one thread each; what has a result is not repeated. Writes growth.csv and
growth.png. Frames are of opencv-doc's vtest.avi at 192x144, pixels and ranks of Big Buck Bunny's first 33 frames.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot: no screen is needed

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RUNS = REPOSITORY / "runs" / "growth"
WALK = "runs/bench/packages/videos/vtest.avi"  # where experiments/bench/clips.py walk leaves it
AXES = ("frames", "pixels", "rank")
FIGURES = ("seconds an epoch", "peak memory (GB)", "bytes", "decoded frames/s")


class Point(NamedTuple):
    """One fit: what is varied, its value, and the options."""

    axis: str
    value: int
    options: list[str]

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.axis}-{self.value}"


class Row(NamedTuple):
    """The costs and results of a fit."""

    axis: str
    value: int
    seconds_an_epoch: float
    peak_memory: float  # GB, of the largest process
    bytes: int
    decode_fps: float


def points() -> list[Point]:
    """All fits: frames, pixels of a frame, rank."""
    walk = ["dataset=file", f"dataset.path={WALK}", "dataset.height=144"]
    few = ["dataset=bunny", "dataset.frames=33"]
    return [
        *(Point("frames", count, [*walk, f"dataset.frames={count}"]) for count in (33, 66, 132, 264, 528)),
        *(
            Point("pixels", height * height * 16 // 9, [*few, f"dataset.height={height}"])
            for height in (90, 180, 360, 720)
        ),
        *(Point("rank", rank, [*few, f"rank={rank}"]) for rank in (1, 2, 4, 8, 16)),
    ]


def fit(point: Point, epochs: int) -> Row:
    """Run a fit if it has no result; its costs and results."""
    measured = point.folder / "memory.json"
    if not measured.exists():
        shutil.rmtree(point.folder, ignore_errors=True)  # what a killed fit took cannot be known
        command = [sys.executable, "-m", "lightning_inr.run", *point.options, f"run_dir={point.folder}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        limits = [f"max_epochs={epochs}", "progress_bar=false", "device=cpu"]
        process = subprocess.Popen([*command, *limits], cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{point.axis}={point.value}: the fit failed; see above")
        measured.write_text(json.dumps(usage.ru_maxrss))
    result = json.loads((point.folder / "result.json").read_text())
    memory = json.loads(measured.read_text()) * 1024 / 1e9
    return Row(
        point.axis, point.value, result["fit_seconds"] / result["epochs"], memory, result["bytes"], result["decode_fps"]
    )


def draw(rows: list[Row], target: Path) -> None:
    """Draw a column per varied quantity and a row per figure; dashed: proportional growth."""
    chart, axes = plt.subplots(
        len(FIGURES), len(AXES), figsize=(10, 10), sharex="col", sharey="row", layout="constrained"
    )
    for column, axis in enumerate(AXES):
        own = [row for row in rows if row.axis == axis]
        for number, (name, figure) in enumerate(zip(FIGURES, Row._fields[2:], strict=True)):
            values, panel = [getattr(row, figure) for row in own], axes[number, column]
            panel.plot([row.value for row in own], values, "o-")
            falls = figure == "decode_fps"
            proportional = [
                values[0] * (own[0].value / row.value if falls else row.value / own[0].value) for row in own
            ]
            panel.plot([row.value for row in own], proportional, "--", color="grey", linewidth=0.8)
            panel.set(xscale="log", yscale="log")
            panel.set_xticks([row.value for row in own], [str(row.value) for row in own])
            panel.minorticks_off()
            panel.grid(alpha=0.3, which="both")
            if not column:
                panel.set_ylabel(name)
        axes[-1, column].set_xlabel(axis)
    chart.savefig(target, dpi=110)
    plt.close(chart)


def main() -> None:
    """Run the fits, write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="of each fit")
    options = parser.parse_args()
    rows = []
    for point in points():
        rows.append(fit(point, options.epochs))
        print(" ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in rows[-1]), flush=True)
    with (HERE / "growth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows([f"{value:.4g}" if isinstance(value, float) else value for value in row] for row in rows)
    draw(rows, HERE / "growth.png")


if __name__ == "__main__":
    main()
