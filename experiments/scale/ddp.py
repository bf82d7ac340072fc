"""Quality of a fit on two devices against one device, with the same global batch; two processes of the CPU.

python experiments/scale/ddp.py OUT NAME=CLIP[:MODEL[:PARAMS]] …

Each clip is fitted by two processes with a batch of 1, and by one process with a batch of 2, with three seeds each.
"""

import argparse
import os
from pathlib import Path

import torch

import lightning_inr as li
from lightning_inr.pipelines import ranks, run_folder
from lightning_inr.pipelines.evaluation import measure

FRAMES, HEIGHT, SEEDS, STEPS = 32, 90, 3, int(os.environ.get("STEPS", "300"))
FITS = (
    *((f"two processes, batch 1, seed {seed}", 2, 1, seed) for seed in range(SEEDS)),
    *((f"one process, batch 2, seed {seed}", 1, 2, seed) for seed in range(SEEDS)),
)


def main(out: Path, clips: list[str]) -> None:
    """Fit every clip in the six ways, and print a row of the table for each."""
    # Processes that import torch anew take longer than these fits; the file is decoded from its bytes all the same.
    ranks.START_METHOD = "fork"
    setattr(run_folder, "measure_in_new_process", measure)  # noqa: B010  # replaced for this script alone
    torch.set_num_threads(1)
    for clip in clips:
        name, _, rest = clip.partition("=")
        path, model, params = [*rest.split(":"), None, None][:3]
        for label, devices, batch, seed in FITS:
            options = {
                "trainer.devices": devices, "data.batch_size": batch, "dataset.frames": FRAMES, "max_steps": STEPS,
                "threads": 1, **({"params": params} if params else {}),
            }  # fmt: skip
            file = out / f"{name}_{devices}_{seed}.linr"
            fitted = li.fit(
                str(path), file, height=HEIGHT, model=model, device="cpu", seed=seed, progress=False, options=options
            )
            figures = fitted.figures
            print(
                f"| {name} | {label} | {figures['psnr']:.2f} | {figures['bpp']:.4f} | {figures['fit_seconds']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("clips", nargs="+", metavar="NAME=CLIP[:MODEL[:PARAMS]]")
    arguments = parser.parse_args()
    main(arguments.out, arguments.clips)
