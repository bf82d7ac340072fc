"""Videos per hour of `task=collect` with and without packs: 64x64 videos of `shapes`, one thread each way.

    python experiments/scale/pack.py FOLDER [--steps 300] [--pack 8] [option=value …]

Seconds are those that the processors spent on each command and its measuring process, so that other work on the machine
counts little; the wall clock stands beside them. A command that is finished in FOLDER is not repeated.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning_inr.retrieval.collection import read_manifest

COMMAND = ["-m", "lightning_inr.run", "task=collect", "dataset=shapes", "shard=1/12", "model.shots=[0]", "threads=1"]


def measure(folder: Path, options: list[str]) -> dict[str, Any]:
    """Figures of one command, from `folder` if it has them."""
    recorded = folder.with_suffix(".json")
    if not recorded.exists():
        before, start = processor_seconds(), time.perf_counter()
        subprocess.run([sys.executable, *COMMAND, *options, f"collection={folder}"], check=True)
        seconds, wall = processor_seconds() - before, time.perf_counter() - start
        records = read_manifest(folder)
        figures = {
            "videos": len(records),
            "psnr": fmean(each.psnr for each in records),
            "bpp": fmean(each.bpp for each in records),
            "processor_seconds": seconds,
            "wall_seconds": wall,
            "videos_per_hour": 3600 * len(records) / seconds,
            "options": options,
        }
        recorded.write_text(json.dumps(figures, indent=2) + "\n")
    figures = json.loads(recorded.read_text())
    print(folder.name, json.dumps(figures))
    return figures


def processor_seconds() -> float:
    """User and system seconds of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pack", type=int, default=8)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_intermixed_args()
    folder: Path = arguments.folder.resolve()
    shared = [f"max_steps={arguments.steps}", *arguments.options]
    folder.mkdir(parents=True, exist_ok=True)
    packed = measure(folder / "packed", [*shared, f"pack={arguments.pack}"])
    alone = measure(folder / "alone", [*shared, "pack=1"])
    print(f"videos per hour: {packed['videos_per_hour'] / alone['videos_per_hour']:.2f} times")
    print(f"PSNR {packed['psnr'] - alone['psnr']:+.3f} dB, rate {100 * (packed['bpp'] / alone['bpp'] - 1):+.2f} %")


if __name__ == "__main__":
    main()
