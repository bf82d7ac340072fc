"""64 small videos on Ray, killed by SIGKILL three times: a worker, the driver, the cluster without its driver.

    python experiments/scale/kills.py FOLDER [--videos 64] [--steps 20]

After each kill the same command goes on. Prints what was in work at each kill, and at the end the number of files, how
many decode, and how many fits were started: at most one more for each that was in work.
"""

import argparse
import os
import subprocess
import time
from pathlib import Path

import psutil
from small_collection import check, finished_videos, start_collect

CLUSTER = ("gcs_server", "raylet", "ray::")  # processes of Ray that are not the driver


def processes(driver: subprocess.Popen[str], *names: str) -> list[psutil.Process]:
    """The processes below the driver with one of these names in their command line."""
    found = []
    for each in psutil.Process(driver.pid).children(recursive=True):
        try:
            if any(name in " ".join(each.cmdline()) for name in names):
                found.append(each)
        except psutil.Error:
            pass
    return found


def wait_for(driver: subprocess.Popen[str], collection: str, videos: int) -> int:
    """Wait until so many videos have a record; the number in work then."""
    while finished_videos(collection) < videos:
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.2)
    return len(processes(driver, "ray::_fit_unit"))


def main() -> None:
    """Run the three kills."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    os.chdir(options.folder)
    # Ray's monitor kills workers for the memory of other programs.
    os.environ |= {"RAY_memory_monitor_refresh_ms": "0"}
    collection, quarter = "collection", options.videos // 4
    ray = ("cluster=ray", "cluster.workers=2")
    start = time.monotonic()

    driver = start_collect(collection, options.videos, options.steps, *ray)
    wait_for(driver, collection, quarter)
    workers = processes(driver, "ray::_fit_unit")
    workers[0].kill()
    print(f"killed a worker at {finished_videos(collection)} videos, 1 in work", flush=True)

    in_work = wait_for(driver, collection, 2 * quarter)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.communicate()
    print(f"killed the driver at {finished_videos(collection)} videos, {in_work} in work", flush=True)
    _, alive = psutil.wait_procs(children, timeout=60)
    print(f"{len(alive)} processes of its cluster are left after a minute", flush=True)

    driver = start_collect(collection, options.videos, options.steps, *ray)
    in_work = wait_for(driver, collection, 3 * quarter)
    for each in processes(driver, *CLUSTER):
        each.kill()
    killed = time.monotonic()
    print(f"killed the cluster at {finished_videos(collection)} videos, {in_work} in work", flush=True)
    text = driver.communicate()[0]
    print(f"its driver: exit code {driver.returncode} after {time.monotonic() - killed:.0f} s", flush=True)
    print("\n".join(line for line in text.splitlines() if line.startswith("error:")), flush=True)

    driver = start_collect(collection, options.videos, options.steps, *ray)
    text = driver.communicate()[0]
    assert driver.returncode == 0, text
    print(check(collection, options.videos))
    print(f"{time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
