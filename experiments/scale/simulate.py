"""A million tasks through the scheduler of task=collect, with a stand-in for the fit: time and memory per task.

    python experiments/scale/simulate.py [--tasks 10000 100000 1000000]

Every number of tasks runs in a process of its own, whose peak is measured. One task in a thousand fails once, one in a
hundred thousand always. The loop claims, keeps 96 units in flight, takes outcomes in another order than their starts,
writes each record as JSON to one file, and sums the figures; the manifest is written from the same records.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lightning_inr.pipelines.cluster.schedule import Claim, Failure, schedule
from lightning_inr.pipelines.cluster.shards import Unit, cut
from lightning_inr.pipelines.collection_manifest import CollectionSummary
from lightning_inr.retrieval.collection import MANIFEST, Record, write_manifest

IN_FLIGHT = 96


def record(index: int) -> Record:
    """A record as a fit of a short clip leaves it."""
    return Record(
        id=f"video{index}", path=f"video{index}.linr", source=json.dumps({"path": f"/data/videos/video{index}.mp4"}),
        frames=300, height=240, width=320, fps=25.0, label=None, captions=["a person cooks", "food is prepared"],
        segments=[], teacher="clip", bytes=40_000 + index % 1000, bpp=0.014, psnr=30.0 + index % 7, ms_ssim=0.95,
        cos_seen=0.97, cos_held_out=None, fit_seconds=30.0, seconds=33.0,
    )  # fmt: skip


class StandIn:
    """An executor that 'fits' at once; outcomes come in an order of their own."""

    def __init__(self) -> None:
        self.waiting: list[Unit] = []
        self.tried: set[int] = set()

    def capacity(self) -> int:
        """Units in flight."""
        return IN_FLIGHT

    def start(self, unit: Unit) -> None:
        """Take a unit."""
        self.waiting.append(unit)

    def wait(self, seconds: float) -> list[tuple[Unit, Sequence[Record | Failure]]]:
        """Finish one of the units."""
        unit = self.waiting.pop(len(self.waiting) // 2)
        return [(unit, [self.fit(index) for index in unit])]

    def fit(self, index: int) -> Record | Failure:
        """The stand-in for a fit."""
        fails = index % 100_000 == 99_999 or (index % 1000 == 500 and index not in self.tried)
        if fails:
            self.tried.add(index)
        return Failure("broken") if fails else record(index)

    def cancel(self, unit: Unit) -> None:
        """Nothing runs."""


def simulate(tasks: int, results: "multiprocessing.Queue[tuple[float, ...]]") -> None:
    """Run so many tasks; seconds of the loop and of the manifest, peaks before, after the loop and at the end, MiB."""
    figures, failed = CollectionSummary(), 0
    before = peak()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "records").open("w") as file:

        def finish(index: int, outcome: Record | Failure, is_last: bool) -> None:
            nonlocal failed
            if isinstance(outcome, Failure):
                failed += is_last
            else:
                file.write(json.dumps(outcome.values()) + "\n")
                figures.add(outcome)

        start = time.perf_counter()
        schedule(cut(range(tasks)), StandIn(), lambda index: Claim.TAKEN, finish, attempts=2)
        seconds, looped = time.perf_counter() - start, peak()
        file.flush()
        assert figures.videos + failed == tasks
        start = time.perf_counter()
        with (Path(folder) / "records").open() as lines:
            write_manifest(Path(folder), (Record.read(json.loads(line)) for line in lines))
        size = (Path(folder) / MANIFEST).stat().st_size
    results.put((seconds, time.perf_counter() - start, before, looped, peak(), size / 2**20))


def peak() -> float:
    """Peak memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    print("| tasks | loop, µs a task | manifest, µs a row | peak before, MiB | after the loop | at the end | file |")
    print("|---|---|---|---|---|---|---|")
    for number in parser.parse_args().tasks:
        spawning = multiprocessing.get_context("spawn")
        queue: "multiprocessing.Queue[tuple[float, ...]]" = spawning.Queue()
        process = spawning.Process(target=simulate, args=(number, queue))
        process.start()
        loop, manifest, *sizes = queue.get()
        process.join()
        shown = " | ".join(f"{size:.0f}" for size in sizes)
        print(f"| {number:,} | {1e6 * loop / number:.1f} | {1e6 * manifest / number:.1f} | {shown} |", flush=True)
