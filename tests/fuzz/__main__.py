"""An hour of invalid files: python -m tests.fuzz [--minutes 60] [--first 0]

Prints faults as they come, and a line of counts at the end; case N is made again by `tests.fuzz.mutations.case(N)`.
"""

import argparse
import sys
import time

from tests.fuzz.worker import run_cases


def main() -> None:
    """Run the cases; exit status 1 if one had a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, default=10**9, help="how many cases at most")
    options = parser.parse_args()
    tried = decoded = faults = 0
    slowest = 0.0
    for outcome in run_cases(options.first, options.count, time.monotonic() + 60 * options.minutes):
        tried, decoded = tried + 1, decoded + outcome.decoded
        slowest = max(slowest, outcome.seconds)
        if outcome.fault:
            faults += 1
            print(f"case {outcome.number}: {outcome.fault}", flush=True)
    print(f"{tried} cases, {decoded} decoded, the others refused, {faults} faults; the slowest took {slowest:.2f} s")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
