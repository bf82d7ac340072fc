"""Indexes of large galleries, FAISS beside LanceDB: recall, build time, bytes, time of a query, memory.

    python experiments/scale/search_indexes.py FOLDER [FRAMES]

Frames are those of `experiments/benchmarks/retrieval_index.py`: 512 numbers of length 1, walks of 100 frames about
centres. Each index is built and searched in a process of its own, and its figures are a line of FOLDER/results.jsonl;
the same command continues with those that are missing. Near queries lie beside a frame (cosine about 0.96), far
ones as far from it as a caption is from a picture in CLIP (about 0.3). Making frames is not counted. Memory is the most
that the process had beyond its files' pages, above what it had after imports.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from lightning_inr.retrieval import shards as sharding
from lightning_inr.retrieval.index import METRIC, SearchIndex
from lightning_inr.retrieval.indexed_files import IndexedFile
from lightning_inr.retrieval.lance_index import LanceStore, open_lance
from lightning_inr.retrieval.sharded_index import ShardFiles, open_sharded
from lightning_inr.types import EmbeddingSpace

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from retrieval_index import DISTANCES, FRAMES, WIDTH, blocks, noise, unit

INDEXES = ("exact", "ivf_pq", "lancedb exact", "lancedb")
QUERIES, HITS = 100, 10
SPACE = EmbeddingSpace("simulated", "00", WIDTH)


def main() -> None:
    """Measure every index that has no figures yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("frames", type=int, nargs="?", default=100_000)
    parser.add_argument("index", choices=INDEXES, nargs="?", help="this one alone, in this process")
    arguments = parser.parse_args()
    folder, frames = arguments.folder, arguments.frames
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.jsonl"
    if arguments.index:
        line = json.dumps(measured(arguments.index, folder, frames))
        with results.open("a") as file:
            file.write(line + "\n")
        return
    make_frames(folder, frames)
    for name in INDEXES:
        done = read_results(results)
        if not any((each["index"], each["frames"]) == (name, frames) for each in done):
            subprocess.run([sys.executable, __file__, str(folder), str(frames), name], check=True)
    print(table(read_results(results)))


def read_results(path: Path) -> list[dict[str, Any]]:
    """The figures that there are, one index of one size a line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_frames(folder: Path, frames: int) -> None:
    """Write the frames, the queries and what an exact search finds, unless they are there."""
    truth = folder / f"{frames}.npz"
    if truth.exists():
        return
    with (folder / f"{frames}.frames").open("wb") as file:
        for block in blocks(frames // FRAMES):
            file.write(block.tobytes())
    stored = open_frames(folder, frames)
    random = np.random.default_rng(1)
    chosen = np.array(stored[np.sort(random.choice(frames, QUERIES, replace=False))])
    queries = {name: unit(chosen + size * noise(random, QUERIES)) for name, size in DISTANCES.items()}
    nearest = {f"{name} rows": faiss.knn(each, stored, HITS, metric=METRIC)[1] for name, each in queries.items()}
    arrays: dict[str, Any] = queries | nearest
    np.savez(truth, **arrays)


def open_frames(folder: Path, frames: int) -> npt.NDArray[np.float32]:
    """The frames, memory-mapped."""
    return np.memmap(folder / f"{frames}.frames", np.float32, "r", shape=(frames, WIDTH))


def measured(name: str, folder: Path, frames: int) -> dict[str, Any]:
    """The figures of one index."""
    home = folder / f"{frames} {name}"
    truth = np.load(folder / f"{frames}.npz")
    with peak_memory() as memory:
        start, cpu = time.perf_counter(), time.process_time()
        index = built(name, home, open_frames(folder, frames))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        figures = {f"{kind} {key}": value for kind in DISTANCES
                   for key, value in searched(index, truth[kind], truth[f"{kind} rows"]).items()}  # fmt: skip
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    return {"index": name, "frames": frames, "build_seconds": seconds, "build_cpu_seconds": cpu_seconds,
            "bytes": size, "peak_bytes": memory[0], **figures}  # fmt: skip


def built(name: str, home: Path, frames: npt.NDArray[np.float32]) -> SearchIndex:
    """The index of these frames, built in one process."""
    kind, _, exact = name.partition(" ")
    home.mkdir(parents=True, exist_ok=True)
    store = LanceStore(home, home) if kind == "lancedb" else ShardFiles(home, kind)
    for first in range(0, len(frames), sharding.SHARD_FRAMES):
        rows = frames[first : first + sharding.SHARD_FRAMES].astype(store.number).tobytes()
        path = home / "rows"
        path.write_bytes(rows)
        files = (IndexedFile(f"{first}.linr", 0, 0, len(frames[first : first + sharding.SHARD_FRAMES])),)
        ascending = f"{first << 24:016x}"  # rows are in the order of their shards' names
        store.add_shard(sharding.Shard(ascending, SPACE, files, zlib.crc32(rows)), path)
        path.unlink(missing_ok=True)
    shards = sorted(store.read_shards())
    if isinstance(store, LanceStore):
        return open_lance(store, shards, bool(exact))
    return open_sharded(store, kind, shards, workers=1)


def searched(index: SearchIndex, queries: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> dict[str, float]:
    """Recall at 1 and at 10 against an exact search, and the median milliseconds of a query alone."""
    index.search(queries, HITS)  # brings in the pages
    seconds, found = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(index.search(query[None], HITS)[1][0])
        seconds.append(time.perf_counter() - start)
    first = [one[0] == other[0] for one, other in zip(rows, found, strict=True)]
    shared = [len(set(one) & set(other)) / HITS for one, other in zip(rows, found, strict=True)]
    return {
        "recall_1": 100 * float(np.mean(first)),
        "recall_10": 100 * float(np.mean(shared)),
        "ms": 1e3 * float(np.median(seconds)),
    }


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Yield a list with the most memory of this process inside the context, pages of files left out, in bytes."""
    before = own_memory()
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], own_memory() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def own_memory() -> int:
    """Bytes of this process in memory that are not pages of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["RssAnon"].split()[0])


def table(results: list[dict[str, Any]]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        "| frames | index | near: recall@1 | @10 | ms | far: recall@1 | @10 | ms | build s | CPU s | MB | memory MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in results:
        found = [f"{each[f'{kind} {key}']:.1f}" for kind in DISTANCES for key in ("recall_1", "recall_10", "ms")]
        cost = [f"{each['build_seconds']:.0f}", f"{each['build_cpu_seconds']:.0f}",
                f"{each['bytes'] / 1e6:.0f}", f"{each['peak_bytes'] / 1e6:.0f}"]  # fmt: skip
        lines.append(f"| {each['frames']} | {' | '.join([each['index'], *found, *cost])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
