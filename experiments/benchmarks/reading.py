"""Reading 1080p: the DataModule compared with decord, all frames in order, from one H.264 file into memory.

python experiments/benchmarks/reading.py
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import decord

from lightning_inr.data.datasets.bunny import open_bunny
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.sources.file import open_source
from lightning_inr.data.writer import write_frames

ROUNDS = 5


def main() -> None:
    """Print frames per second of each, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        source = open_bunny(height=1080)
        write_frames((source.read(number) for number in range(source.frames)), clip, source.fps)
        readers: dict[str, Callable[[Path], int]] = {"decord alone": by_decord, "DataModule": by_data_module}
        seconds = {name: min(timed(reader, clip) for _ in range(ROUNDS)) for name, reader in readers.items()}
        speeds = {name: source.frames / value for name, value in seconds.items()}
    for name, speed in speeds.items():
        print(f"{name:<14}{speed:8.1f} frames/s")
    print(f"{'ratio':<14}{speeds['DataModule'] / speeds['decord alone']:8.3f}")


def timed(reader: Callable[[Path], int], clip: Path) -> float:
    """Seconds from opening the file until all frames are in memory."""
    start = time.perf_counter()
    reader(clip)
    return time.perf_counter() - start


def by_decord(clip: Path) -> int:
    """Read each frame as an array, all kept."""
    reader = decord.VideoReader(str(clip))
    return len([reader[number].asnumpy() for number in range(len(reader))])


def by_data_module(clip: Path) -> int:
    """Read as a fit does, all kept."""
    return len(FrameDataModule(open_source(str(clip))).frames)


if __name__ == "__main__":
    main()
