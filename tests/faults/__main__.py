"""Kills and full disks over fit and collect: python -m tests.faults [--count 20] [--jobs 2]

A line a fault and a table at the end; exit status 1 if anything was lost or left behind.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.harness import COLLECT, FIT, Fate, chosen, full, killed, moments, prepare

COMMANDS = {"fit": FIT, "collect": COLLECT}


def main() -> None:
    """Run all, print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="faults of each kind, of each command")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        fates = run_all(Path(root), options.count, options.jobs)
    print(f"{'command':<10}{'fault':<12}{'tried':>6}{'lost':>6}")
    for key in sorted({(fate.command, fate.kind) for fate in fates}):
        of_kind = [fate for fate in fates if (fate.command, fate.kind) == key]
        print(f"{key[0]:<10}{key[1]:<12}{len(of_kind):>6}{sum(fate.problem is not None for fate in of_kind):>6}")
    sys.exit(1 if any(fate.problem for fate in fates) else 0)


def run_all(root: Path, count: int, jobs: int) -> list[Fate]:
    """All faults, `jobs` side by side, each in a folder of its own."""
    waiting: list[Callable[[], Fate]] = []
    chance = random.Random(1)
    for command, options in COMMANDS.items():
        dry = root / f"dry-{command}"
        prepare(dry)
        most = moments(options, dry)
        print(f"{command}: {most} changes of the file system", flush=True)
        for number in chosen(count, most, seed=0):
            waiting.append(lambda c=command, o=options, n=number: killed(c, o, root / f"{c}-kill-{n}", n))
            waiting.append(lambda c=command, o=options, n=number: full(c, o, root / f"{c}-full-{n}", n))
        for place, seconds in enumerate(sorted(chance.uniform(1, 25) for _ in range(count))):
            waiting.append(lambda c=command, o=options, s=seconds, p=place: killed(c, o, root / f"{c}-at-{p}", s))
        waiting.append(lambda c=command, o=options: full(c, o, root / f"{c}-temp", 1, "full_temp"))
    with ThreadPoolExecutor(jobs) as pool:
        fates = []
        for fate in pool.map(lambda each: each(), waiting):
            fates.append(fate)
            print(f"{fate.command} {fate.kind} at {fate.moment}: {fate.problem or 'nothing lost'}", flush=True)
    return fates


if __name__ == "__main__":
    main()
