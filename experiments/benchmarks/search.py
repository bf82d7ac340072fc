"""Time of searches in a collection of a thousand files, each in a new process; the first builds the index.

Otherwise task=collect builds it.

    python experiments/benchmarks/search.py COLLECTION [files=1000]

COLLECTION is a folder written by task=collect, with its teacher; its files are copied until there are enough. Imports
are not counted; everything else is: manifest, index, teacher, the query, decoding the hits and drawing them.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lightning_inr.retrieval.collection import read_manifest, write_manifest

SCRIPT = """
import sys, time
import open_clip, timm
from hydra import compose, initialize_config_dir
from lightning_inr.paths import config_dir
from lightning_inr.tasks import search
with initialize_config_dir(config_dir(), version_base="1.3"):
    cfg = compose("config", ["task=search", f"collection={sys.argv[1]}", "query='a red ball rolls left'",
                             f"out={sys.argv[1]}/found"])
start = time.perf_counter()
search.run(cfg)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Print the seconds of each search."""
    source, wanted = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    records = read_manifest(source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(source / "config.yaml", folder)
        many = []
        for number in range(wanted):
            record = records[number % len(records)]
            many.append(record._replace(id=f"{record.id}-{number}", path=f"{number}.linr"))
            shutil.copy(source / record.path, folder / f"{number}.linr")
        write_manifest(folder, many)
        frames = sum(record.frames for record in many)
        print(f"{wanted} files, {frames} frames")
        for label in ("without an index", "with it", "again"):
            done = subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, check=True)
            print(f"{label}: {float(done.stdout.split()[-1]):.2f} s")


if __name__ == "__main__":
    main()
