"""task=collect on Ray with one and with two workers of one thread each, and what Ray adds to a task.

    python experiments/scale/workers.py FOLDER [--videos 24] [--steps 300]

Videos per hour are those between the first and the last start of a fit, after all workers have begun one, so that the
start of the cluster and the imports of its workers do not count.
"""

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from small_collection import check, seconds_between_starts, start_collect

from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.pipelines.cluster.ray import RayExecutor, RayOptions
from lightning_inr.pipelines.cluster.schedule import Claim, Failure, schedule
from lightning_inr.pipelines.cluster.shards import cut
from lightning_inr.pipelines.collection_worker import CollectionSetup
from lightning_inr.pipelines.fitting import FitOptions

EMPTY_TASKS = 500


def nothing(version: str, payload: bytes, videos: bytes, copy: int) -> Sequence[Failure]:
    """A task without a fit; its answer is as small as a record."""
    return [Failure("x" * 600)]


def empty_fit_options() -> FitOptions:
    """Options that no fit reads."""
    unused: Any = None
    return FitOptions(**{field.name: unused for field in fields(FitOptions)})


def seconds_a_task(tasks: int) -> float:
    """Seconds that a task without a fit takes through the scheduler and Ray, with one worker."""
    ray_options = RayOptions(address=None, workers=1, cpus=1, gpus=0, dashboard=False)
    unused: Any = None
    setup = CollectionSetup(empty_fit_options(), {}, unused, "none")
    videos = [CaptionedVideo(f"video{index}", Path(f"video{index}.mp4"), captions=("a",) * 5) for index in range(tasks)]
    with RayExecutor(ray_options, setup, videos, 1) as executor:
        executor.task = executor.ray.remote(num_cpus=1)(nothing)
        schedule(cut(range(10)), executor, lambda index: Claim.TAKEN, lambda *_: None, attempts=1)  # starts the worker
        start = time.perf_counter()
        schedule(cut(range(tasks)), executor, lambda index: Claim.TAKEN, lambda *_: None, attempts=1)
        return (time.perf_counter() - start) / tasks


def main() -> None:
    """Both measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    os.chdir(options.folder)
    rates = []
    for workers in (1, 2):
        Path("starts").unlink(missing_ok=True)
        shutil.rmtree("collection", ignore_errors=True)
        process = start_collect(
            "collection", options.videos, options.steps, "cluster=ray", f"cluster.workers={workers}"
        )
        text = process.communicate()[0]
        assert process.returncode == 0, text
        rates.append(3600 / seconds_between_starts(workers))
        print(f"{workers} workers: {rates[-1]:.0f} videos per hour; {check('collection', options.videos)}", flush=True)
    print(f"two against one: {rates[1] / rates[0]:.2f} x")
    print(f"{1000 * seconds_a_task(EMPTY_TASKS):.2f} ms a task without a fit, {EMPTY_TASKS} tasks, one worker")


if __name__ == "__main__":
    main()
