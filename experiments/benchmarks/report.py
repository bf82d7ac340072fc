"""Time of a report of 200 runs: the whole command, imports included.

python experiments/benchmarks/report.py
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 200


def main() -> None:
    """Write results of two models at ten rates on ten videos, run the report, print the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(RUNS):
            write_result(Path(folder) / "runs" / str(number), number)
        start = time.perf_counter()
        options = ["task=report", f"runs={folder}/runs", f"out={folder}/report"]
        subprocess.run([sys.executable, "-m", "lightning_inr.run", *options], check=True)
        print(f"{time.perf_counter() - start:.1f} s for {RUNS} runs")


def write_result(folder: Path, number: int) -> None:
    """Write one result.json; its values do not affect the time."""
    video, model, step = f"video{number % 10}", ("latent_inr", "nerv")[number // 10 % 2], number // 20
    figures = {
        "bpp": 0.02 * (step + 1),
        "psnr": 30.0 + step,
        "ssim": 0.9,
        "ms_ssim": 0.95 + 0.004 * step,
        "bytes": 1000,
    }
    result = {"model": model, "video": video, "rank": 10 * (step + 1), "overrides": [f"rank={10 * (step + 1)}"]}
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({**result, **figures}))


if __name__ == "__main__":
    main()
