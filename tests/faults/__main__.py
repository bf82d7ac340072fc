"""Kills, full disks and reads that fail, over five commands.

    python -m tests.faults [--count 20] [--jobs 2] [--kinds kill,full]

A line a fault and a table at the end; exit status 1 if anything was lost or left behind. As root, real small disks too.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.harness import COMMANDS, FIT, Command, FaultResult, chosen, failed, killed, moments, small_disk

DISKS = [4, 40, 400, 1500]  # KiB left
SLOW = 100  # milliseconds a read
KINDS = ("kill", "full", "failing", "full_temp", "slow", "small_disk")


def main() -> None:
    """Run all faults and print the result of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="faults of each kind, of each command")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of faults")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        results = run_all(Path(root), options.count, options.jobs, options.kinds.split(","))
    print(f"{'command':<10}{'fault':<12}{'tried':>6}{'lost':>6}")
    for key in sorted({(result.command, result.kind) for result in results}):
        of_kind = [result for result in results if (result.command, result.kind) == key]
        print(f"{key[0]:<10}{key[1]:<12}{len(of_kind):>6}{sum(result.problem is not None for result in of_kind):>6}")
    sys.exit(1 if any(result.problem for result in results) else 0)


def run_all(root: Path, count: int, jobs: int, kinds: Sequence[str]) -> list[FaultResult]:
    """All faults, `jobs` in parallel, each in its own folder."""
    waiting = [each for command in COMMANDS for each in faults(command, root, count, kinds)]
    with ThreadPoolExecutor(jobs) as pool:
        results = []
        for result in pool.map(lambda each: each(), waiting):
            results.append(result)
            print(f"{result.command} {result.kind} at {result.moment}: {result.problem or 'nothing lost'}", flush=True)
    return results


def faults(command: Command, root: Path, count: int, kinds: Sequence[str]) -> Iterator[Callable[[], FaultResult]]:
    """The faults of one command, after a run without faults that counts its file system calls."""
    changes, reads = moments(command, root / f"dry-{command.name}")
    print(f"{command.name}: {changes} changes of the file system, {reads} files read", flush=True)
    chance = random.Random(command.name)
    longest = 25 if command is FIT else 12  # seconds
    moments_of: dict[str, list[Any]] = {
        "kill": [*chosen(count, changes, seed=0), *sorted(chance.uniform(1, longest) for _ in range(count))],
        "full": chosen(count, changes, seed=0),
        "failing": chosen(count, reads, seed=1),
        "full_temp": [1],
        "slow": [SLOW],
        "small_disk": DISKS if os.geteuid() == 0 else [],
    }
    for kind in kinds:
        act = {"kill": killed, "small_disk": small_disk}.get(kind, partial(failed, kind=kind))
        for place, moment in enumerate(moments_of[kind]):
            yield partial(act, command, root / f"{command.name}-{kind}-{place}", number=moment)


if __name__ == "__main__":
    main()
