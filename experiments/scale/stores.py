"""task=collect on a bucket whose store is healthy, fails one call in ten, or takes 100 ms longer for each call.

    PYTHONPATH=. python experiments/scale/stores.py FOLDER [--videos 16] [--steps 200]

The store is moto's server in this process. Times are seconds a video between the first and the last start of a fit, so
that the start of the process does not count.
"""

import argparse
import os
from pathlib import Path

from small_collection import check, seconds_between_starts, start_collect

from tests.servers import BUCKET, CREDENTIALS, s3_server

STORES: dict[str, dict[str, float]] = {
    "healthy": {},
    "one call in ten fails": {"fail_every": 10},
    "100 ms a call": {"delay": 0.1},
}


def main() -> None:
    """Collect on each store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    os.chdir(options.folder)
    os.environ |= CREDENTIALS
    print("| store | s a video | against healthy | calls | found |\n|---|---|---|---|---|")
    healthy = 0.0
    for name, faults in STORES.items():
        Path("starts").unlink(missing_ok=True)
        with s3_server() as store:
            os.environ["AWS_ENDPOINT_URL"] = store.endpoint
            for fault, value in faults.items():
                setattr(store, fault, value)
            process = start_collect(f"s3://{BUCKET}/c", options.videos, options.steps)
            text = process.communicate()[0]
            assert process.returncode == 0, text
            store.fail_every, store.delay = 0, 0.0
            calls, found = store.calls, check(f"s3://{BUCKET}/c", options.videos)
        seconds = seconds_between_starts()
        healthy = healthy or seconds
        print(f"| {name} | {seconds:.2f} | {seconds / healthy:.2f} | {calls} | {found} |", flush=True)


if __name__ == "__main__":
    main()
