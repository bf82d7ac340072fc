"""Each kind of index over many frames: build time, size on disk, time of a query, and recall.

    python experiments/benchmarks/retrieval_index.py [videos=10000]

Frames are simulated: 512 numbers of length 1; a video is 100 frames, a random walk about a centre, which lies about
one of a hundred themes. Near queries lie beside a frame (cosine about 0.96), far ones as far from it as a caption is
from a picture in CLIP (about 0.3). Making frames is not counted; files are in the system's cache, as after a first
query; each query is alone.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lightning_inr.retrieval.index import KINDS, VectorIndex

WIDTH, FRAMES, THEMES = 512, 100, 100
QUERIES, HITS = 200, 10
DISTANCES = {"near": 0.3, "far": 3.2}  # length of the noise added to a frame

Vectors = npt.NDArray[np.float32]
Outcome = TypeVar("Outcome")


def main() -> None:
    """Print a line per kind."""
    videos = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    random = np.random.default_rng(1)
    sample = np.concatenate([block[random.choice(len(block), 1000, replace=False)] for block in blocks(videos)])
    frames = sample[random.choice(len(sample), QUERIES)]
    queries = {name: unit(frames + size * noise(random, QUERIES)) for name, size in DISTANCES.items()}
    print(f"{videos * FRAMES} frames of {WIDTH} numbers, {len(sample)} of them to learn from")
    print("kind     train s   add s  save s      MB   load s |", *(f"{name:>4}: ms recall@10" for name in queries))
    truth: dict[str, npt.NDArray[np.int64]] = {}
    for kind in KINDS:  # the exact one first: its results are the reference
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "frames.faiss"
            line = f"{kind:<8}{build(kind, videos, sample, path)}"
            loading, index = timed(VectorIndex.load, path, True)
            line += f"{loading:9.3f} |"
            for name, each in queries.items():
                index.search(each, HITS)  # brings in the pages
                milliseconds, rows = one_by_one(index, each)
                line += f"{milliseconds:9.2f} {overlap(truth.setdefault(name, rows), rows):9.3f}"
            print(line, flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB, mapped pages included")


def build(kind: str, videos: int, sample: Vectors, path: Path) -> str:
    """Build and save an index; the seconds, and the size of the file."""
    index = VectorIndex(WIDTH, kind)
    training, _ = timed(index.train, sample)
    adding = sum(timed(index.add, block)[0] for block in blocks(videos))
    saving, _ = timed(index.save, path)
    return f"{training:8.1f}{adding:8.1f}{saving:8.1f}{path.stat().st_size / 1e6:8.0f}"


def blocks(videos: int) -> Iterator[Vectors]:
    """Yield the frames of 100 videos at a time, the same on every call."""
    random = np.random.default_rng(0)
    themes = unit(noise(random, THEMES))
    for _ in range(0, videos, 100):
        centres = themes[random.integers(THEMES, size=100)] + 0.7 * noise(random, 100)
        walks = 0.06 * noise(random, 100 * FRAMES).reshape(100, FRAMES, WIDTH).cumsum(1)
        yield unit(centres[:, None] + walks).reshape(-1, WIDTH)


def one_by_one(index: VectorIndex, queries: Vectors) -> tuple[float, npt.NDArray[np.int64]]:
    """Median milliseconds of a query, and the rows each found."""
    answers = [timed(index.search, query[None], HITS) for query in queries]
    milliseconds = 1e3 * float(np.median([seconds for seconds, _ in answers]))
    return milliseconds, np.concatenate([rows for _, (_, rows) in answers])


def overlap(expected: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> float:
    """Share of the expected rows that were found."""
    return float(np.mean([len(set(a) & set(b)) / HITS for a, b in zip(expected, rows, strict=True)]))


def timed(work: Callable[..., Outcome], *arguments: Any) -> tuple[float, Outcome]:
    """The seconds, and the result."""
    start = time.perf_counter()
    outcome = work(*arguments)
    return time.perf_counter() - start, outcome


def noise(random: np.random.Generator, count: int) -> Vectors:
    """Vectors of a length near 1 in any direction."""
    return random.standard_normal((count, WIDTH), np.float32) / np.float32(WIDTH**0.5)


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """The same at length 1."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
