"""Training steps per second, with CUDA graphs and without, and how long the device works in a step.

    python experiments/gpu/steps.py [--steps 600] [--kernels N] [--graphs both] [option=value …]

The options are those of `lightning_inr.run`. Timed is the second half of the steps.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from torch.profiler import ProfilerActivity, profile

from lightning_inr.configuration.fits import run_options
from lightning_inr.paths import config_dir
from lightning_inr.pipelines.fitting import prepare_fit, train
from lightning_inr.training.callbacks.base import all_of, one_of
from lightning_inr.training.callbacks.history import History

PROFILED = 64  # of the last steps: a multiple of the steps after which roundings and rates repeat


class Clock(L.Callback):
    """Times the second half of the steps but the last PROFILED, which it profiles."""

    def __init__(self, steps: int) -> None:
        self.steps, self.milliseconds = steps, 0.0
        self.profiler = profile(activities=[ProfilerActivity.CUDA]) if torch.cuda.is_available() else None

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        step, last = trainer.global_step, self.steps - PROFILED
        if step not in (self.steps // 2, last, self.steps):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if step == self.steps // 2:
            self.start = time.perf_counter()
        elif step == last:
            self.milliseconds = 1e3 * (time.perf_counter() - self.start) / (last - self.steps // 2)
            if self.profiler is not None:
                self.profiler.start()
        elif self.profiler is not None:
            self.profiler.stop()

    def kernels(self) -> dict[str, float]:
        """Milliseconds of a step by kernel, the longest first."""
        if self.profiler is None:
            return {}
        found = {each.key: each.self_device_time_total / 1e3 / PROFILED for each in self.profiler.key_averages()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def measure(steps: int, options: list[str], most: int) -> dict[str, Any]:
    """Figures of one fit."""
    with initialize_config_dir(config_dir(), version_base="1.3"), tempfile.TemporaryDirectory() as folder:
        overrides = [f"max_steps={steps}", f"run_dir={folder}", "progress_bar=false", *options]
        cfg = compose("config", overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        run = run_options(cfg)
        L.seed_everything(0, verbose=False)
        prepared = prepare_fit(run.fit, run.open_source(), Path(folder))
        clock = Clock(steps)
        all_of(prepared.trainer).append(clock)
        train(prepared, Path(folder))
    kernels = clock.kernels()
    for name, milliseconds in list(kernels.items())[:most]:
        print(f"    {milliseconds:8.4f} ms  {name[:110]}")
    return {
        "ms": round(clock.milliseconds, 3),
        "steps_per_second": round(1e3 / clock.milliseconds, 1),
        "device_ms": round(sum(kernels.values()), 3),
        "psnr": round(one_of(prepared.trainer, History).moments[-1].psnr, 2),
        "memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--kernels", type=int, default=0, help="print so many of the longest kernels")
    parser.add_argument("--graphs", choices=("both", "true", "false"), default="both")
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_intermixed_args()
    options = arguments.options
    for graphs in ("false", "true") if arguments.graphs == "both" else (arguments.graphs,):
        figures = measure(arguments.steps, [*options, f"module.cuda_graphs={graphs}"], arguments.kernels)
        print(json.dumps({"options": options, "cuda_graphs": graphs, **figures}), flush=True)


if __name__ == "__main__":
    main()
