"""What the measurements of task=collect share: its command for 64 small videos, and what is in a folder after."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from lightning_inr.codec import decode
from lightning_inr.retrieval.collection import read_manifest
from lightning_inr.storage import open_folder

SMALL = [
    "dataset=shapes", "dataset.listing.root=shapes", "dataset.most_frames=4", "dataset.height=16", "dataset.width=16",
    "model.width=8", "model.hyper_width=4", "model.latent_dim=4", "rank=2", "max_seconds=null", "progress=none",
]  # fmt: skip


def start_collect(collection: str, videos: int, steps: int, *options: str) -> subprocess.Popen[str]:
    """Start task=collect of so many videos of 4 frames of 16x16 with so many steps each; output is captured."""
    log = [
        "+callbacks.starts._target_=starts.StartLog",
        f"+callbacks.starts.path={Path.cwd()}/starts",
    ]
    command = ["task=collect", f"collection={collection}", *SMALL, f"dataset.listing.videos={videos}",
               f"max_steps={steps}", *log, *options]  # fmt: skip
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_inr.run", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def finished_videos(collection: str) -> int:
    """The number of records in a collection."""
    return sum(each.name.endswith(".json") for each in open_folder(collection, "collection").names("records/"))


def seconds_between_starts(workers: int = 1) -> float:
    """Seconds a video between the starts of fits in the log, without the time before all workers have begun one."""
    lines = [line.split() for line in Path("starts").read_text().splitlines()]
    begun: set[str] = set()
    for number, (_, process, _) in enumerate(lines):
        begun.add(process)
        if len(begun) == workers:
            return (float(lines[-1][0]) - float(lines[number][0])) / (len(lines) - 1 - number)
    raise AssertionError(f"{len(begun)} of {workers} workers have fitted a video")


def check(collection: str, videos: int) -> str:
    """Decode all files; the number of files, of rows of the manifest, and of fits that were started, by video."""
    folder = open_folder(collection, "collection")
    files = [each.name for each in folder.names() if each.name.endswith(".linr")]
    decoded = sum(decode(folder.read(name)).video.frames == 4 for name in files)
    rows = len(read_manifest(collection)) if "://" not in collection else len(files)
    fits = Counter(line.split()[2] for line in Path("starts").read_text().splitlines())
    again = {name.removesuffix(".fit"): count for name, count in fits.items() if count > 1}
    assert (len(files), decoded, rows) == (videos, videos, videos), (files, decoded, rows)
    return f"{len(files)} files, {decoded} decode, {rows} rows; {fits.total()} fits, more than one of {again or 'none'}"
