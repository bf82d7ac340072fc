"""Milliseconds of a training step on one thread and on two, by the multiply-adds of a frame.

    python experiments/benchmarks/threads.py

`lightning_inr.training.threads.LITTLE_WORK` is chosen from these figures.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FITS = {  # options of the fit: its steps
    "dataset.height=90": 150,
    "dataset.height=180": 80,
    "model=latent_inr_conv dataset.height=90": 100,
    "model=latent_inr_conv": 80,
    "model=nerv_small": 80,
    "model=hnerv_035m model.strides=[5,2,2]": 60,
    "dataset.height=720": 16,
    "model=hinerv_xxs": 40,
    "model=nvp_small": 20,
    "model=latent_inr": 12,
}


def milliseconds(options: str, steps: int, threads: int) -> float:
    """Time of a training step, in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = [
            "dataset.frames=16",
            f"max_steps={steps}",
            f"threads={threads}",
            f"run_dir={folder}",
            "progress_bar=false",
        ]
        command = [sys.executable, "-m", "lightning_inr.run", *options.split(), *fixed]
        subprocess.run(command, capture_output=True, check=True)
        result = json.loads((Path(folder) / "result.json").read_text())
    return 1000 * result["fit_seconds"] / result["steps"]


if __name__ == "__main__":
    print(f"{'options':<42} one thread   two threads")
    for options, steps in FITS.items():
        one, two = (milliseconds(options, steps, threads) for threads in (1, 2))
        print(f"{options:<42} {one:7.1f} ms    {two:7.1f} ms   {two / one:.2f}", flush=True)
