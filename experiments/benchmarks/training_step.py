"""Time of the parts of a training step of the main job.

    python experiments/benchmarks/training_step.py [option=value …]

The options are those of `lightning_inr.run`. What is neither forward, backward nor optimiser is overhead:
loading, transfer, loops, callbacks, logging, checkpoints.
"""

import functools
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from lightning_inr.configuration.fits import run_options
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import config_dir
from lightning_inr.pipelines import fitting, run_folder
from lightning_inr.training.callbacks.base import all_of
from lightning_inr.training.modules.compression import CompressionModule

spent: dict[str, float] = defaultdict(float)


def timed(name: str, owner: type, method: str) -> None:
    """Add up the seconds of `owner.method` under `name`; a closure it is given counts for itself."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        inside = 0.0

        def closure(call: Any) -> Any:
            nonlocal inside
            start = time.perf_counter()
            result = call()
            inside += time.perf_counter() - start
            return result

        if args and callable(args[0]):
            args = (functools.partial(closure, args[0]), *args[1:])
        if callable(kwargs.get("closure")):
            kwargs["closure"] = functools.partial(closure, kwargs["closure"])
        start = time.perf_counter()
        result = original(self, *args, **kwargs)
        spent[name] += time.perf_counter() - start - inside
        return result

    setattr(owner, method, wrapper)


class Clock(L.Callback):
    """The seconds of all steps, and their number; the first step warms up and does not count."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            spent.clear()
            self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds, self.steps = time.perf_counter() - self.start, trainer.global_step - 1


def main() -> None:
    timed("forward", VideoRepresentation, "training_outputs")
    timed("forward", CompressionModule, "terms")
    timed("backward", torch.Tensor, "backward")
    clock = Clock()
    trainer_of = fitting.make_trainer
    fitting.make_trainer = lambda *args: _with(trainer_of(*args), clock)
    instead_of_measuring = mock.patch.object(
        run_folder, "measure_in_new_process", side_effect=lambda _: sys.exit(report(clock))
    )
    compose_here = initialize_config_dir(config_dir(), version_base="1.3")
    with instead_of_measuring, compose_here, tempfile.TemporaryDirectory() as folder:
        overrides = ["max_seconds=30", f"run_dir={folder}", *sys.argv[1:]]
        cfg = compose("config", overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        run_folder.fit_into(Path(cfg.run_dir), run_options(cfg))


def _with(trainer: L.Trainer, callback: L.Callback) -> L.Trainer:
    all_of(trainer).append(callback)
    timed("optimiser", torch.optim.Adam, "step")
    timed("optimiser", torch.optim.Adam, "zero_grad")
    return trainer


def report(clock: Clock) -> int:
    print(f"{clock.steps} steps, {1e3 * clock.seconds / clock.steps:.2f} ms each")
    for name, seconds in spent.items():
        print(f"  {name:<10}{1e3 * seconds / clock.steps:8.2f} ms {seconds / clock.seconds:7.1%}")
    outside = clock.seconds - sum(spent.values())
    print(f"  {'outside':<10}{1e3 * outside / clock.steps:8.2f} ms {outside / clock.seconds:7.1%}")
    return 0


if __name__ == "__main__":
    main()
