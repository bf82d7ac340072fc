"""Measures the coefficients of bill.py on this machine: `python -m experiments.scale.measure`.

Writes coefficients.json after each part; the same command measures only what is missing. Work is counted in seconds of
CPU, which other programs on the machine disturb less than seconds of a clock; overheads of schedulers and two workers
beside one are seconds of a clock. `--disturbed` records that other programs ran.
"""

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "coefficients.json"
SHAPES = Path(tempfile.gettempdir(), "shapes_of_scale")  # rendered if missing, a folder for each number of videos


class Sample(NamedTuple):
    """A collection of `videos` of shapes: frames of side x side pixels, and steps of each fit."""

    videos: int
    side: int
    frames: int
    steps: int

    @property
    def options(self) -> list[str]:
        return [
            "task=collect", "dataset=shapes", f"dataset.listing.root={SHAPES}/{self.videos}",
            f"dataset.listing.videos={self.videos}",
            f"dataset.height={self.side}", f"dataset.width={self.side}", f"dataset.most_frames={self.frames}",
            f"max_steps={self.steps}", "progress=none", "threads=1", "device=cpu",
        ]  # fmt: skip


FITTED = [
    Sample(2, 32, 8, 40), Sample(2, 64, 8, 40), Sample(2, 64, 32, 40), Sample(2, 64, 32, 120), Sample(2, 96, 16, 80),
    Sample(2, 32, 32, 120), Sample(2, 128, 8, 40), Sample(2, 128, 24, 80), Sample(2, 64, 16, 160),
    Sample(1, 240, 36, 30), Sample(1, 240, 8, 40), Sample(1, 160, 36, 60),
]  # fmt: skip
CHECKED = Sample(5, 80, 20, 100)  # no figure of it is fitted
SMALLEST = Sample(1, 32, 4, 1)
INDEXED = (50_000, 100_000)  # frames
WIDTH = 512  # numbers of a frame in the index
TASKS = 200


def main() -> None:
    """Measure what is missing."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found.setdefault("disturbed", "--disturbed" in sys.argv)
    parts: dict[str, Callable[[], Any]] = {
        **{f"collect {' '.join(map(str, sample))}": partial(collect_here, sample) for sample in FITTED},
        f"command {' '.join(map(str, SMALLEST))}": partial(collect_by_command, SMALLEST),
        f"command {' '.join(map(str, CHECKED))}": partial(collect_by_command, CHECKED),
        "ray": ray_tasks,
        "submitit": submitit_job,
        **{f"index {frames}": partial(index, frames) for frames in INDEXED},
        "workers 1": partial(side_by_side, 1),
        "workers 2": partial(side_by_side, 2),
    }
    for name, part in parts.items():
        if name not in found:
            found[name] = part()
            print(f"{name}: {found[name]}", flush=True)
            draft = RESULTS.with_suffix(".part")
            draft.write_text(json.dumps(found, indent=1) + "\n")
            draft.replace(RESULTS)


def collect_here(sample: Sample) -> dict[str, float]:
    """Seconds of CPU and bytes of the files of a collection made in this process, which has imported everything."""
    from lightning_inr import run
    from lightning_inr.pipelines.evaluation import measure

    measured_here = patch("lightning_inr.pipelines.collection.measuring_process", lambda: nullcontext(measure))
    with tempfile.TemporaryDirectory() as folder, measured_here:

        def collect(each: Sample) -> float:
            shutil.rmtree(f"{folder}/c", ignore_errors=True)
            start = cpu_seconds()
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                run.run_arguments([*each.options, f"collection={folder}/c"])
            return cpu_seconds() - start

        collect(SMALLEST)  # imports, and the first of everything
        seconds = collect(sample)
        sizes = sum(path.stat().st_size for path in Path(folder, "c").glob("*.linr"))
    return {"cpu_seconds": seconds, "bytes": sizes}


def collect_by_command(sample: Sample) -> dict[str, float]:
    """The same by the command itself, with the start of its processes."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = cpu_seconds(), time.perf_counter()
        command = [sys.executable, "-m", "lightning_inr.run", *sample.options, f"collection={folder}/c"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        sizes = sum(path.stat().st_size for path in Path(folder, "c").glob("*.linr"))
        return {"cpu_seconds": cpu_seconds() - before, "seconds": time.perf_counter() - start, "bytes": sizes}


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def side_by_side(workers: int) -> dict[str, float]:
    """Seconds of the slowest of so many processes that fit the same at once."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_fit_in_step, args=(barrier, times)) for _ in range(workers)]
    for process in processes:
        process.start()
    seconds = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return {"seconds": seconds}


def _fit_in_step(barrier: Any, times: Any) -> None:
    collect_here(SMALLEST)
    barrier.wait()
    start = time.perf_counter()
    collect_here(Sample(2, 64, 16, 120))
    times.put(time.perf_counter() - start)


def index(frames: int) -> dict[str, float]:
    """Seconds of CPU to build IVF-PQ over random walks, its bytes, and the seconds of a query that is not batched."""
    import faiss

    from lightning_inr.retrieval.index import VectorIndex

    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(0)
    walks = np.cumsum(random.standard_normal((frames // 100, 100, WIDTH), dtype=np.float32), axis=1)
    vectors = walks.reshape(-1, WIDTH)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    start = cpu_seconds()
    built = VectorIndex(WIDTH, "ivf_pq")
    built.train(vectors[random.permutation(frames)[: frames // 4]])
    built.add(vectors)
    seconds = cpu_seconds() - start
    with tempfile.TemporaryDirectory() as folder:
        built.save(Path(folder, "index"))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    start = cpu_seconds()
    for query in vectors[:: frames // 200]:
        built.search(query[None], 10)
    return {"cpu_seconds": seconds, "bytes": size, "query_seconds": (cpu_seconds() - start) / 200}


def ray_tasks() -> dict[str, float]:
    """Seconds to start a cluster of this machine, and a task that does nothing."""
    import ray

    start = time.perf_counter()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
    nothing = ray.remote(_nothing)
    ray.get(nothing.remote())
    started = time.perf_counter() - start
    start = time.perf_counter()
    ray.get([nothing.remote() for _ in range(TASKS)])
    seconds = (time.perf_counter() - start) / TASKS
    ray.shutdown()
    return {"start_seconds": started, "seconds": seconds}


def submitit_job() -> dict[str, float]:
    """Seconds of a job of submitit that does nothing: a process a job, which imports no torch."""
    import submitit

    with tempfile.TemporaryDirectory() as folder:
        executor = submitit.LocalExecutor(folder)
        start = time.perf_counter()
        executor.submit(os.getpid).result()
        return {"seconds": time.perf_counter() - start}


def _nothing() -> None:
    pass


if __name__ == "__main__":
    main()
