"""How many threads a fit on the CPU uses: one, or all that are allowed, whichever takes its steps faster."""

import time
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lightning_inr.errors import UserError

PAIRS = 5  # steps with each count in a comparison; the first pair is not counted: it prepares kernels for its threads
WARM_UP = 2  # steps before the first comparison
LEAST_REST = 20.0  # times the duration of a comparison, until the next: slow steps cost at most 5 % of the time


class ThreadChoice:
    """Compares steps with one thread and with all, in turn, and keeps the faster count.

    More threads than one must be faster by the share `gain`. A comparison is repeated every `seconds`, because the
    load of the machine changes. "All" is torch's own count when it is entered, which OMP_NUM_THREADS bounds.
    """

    def __init__(self, seconds: float = 30.0, gain: float = 0.15, active: bool = True) -> None:
        self.every, self.gain, self.active = seconds, gain, active
        self.most = self.chosen = torch.get_num_threads()
        self._times: dict[int, list[float]] = {}
        self._left = 0  # steps of the comparison under way
        self._due = 0.0
        self._wait = WARM_UP  # steps until the first comparison
        self._begun = self._started = 0.0

    def __enter__(self) -> "ThreadChoice":
        self.most = self.chosen = torch.get_num_threads()
        self._left, self._due, self._wait = 0, 0.0, WARM_UP
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.most)

    def begin_step(self) -> None:
        """Set the thread count of the coming step."""
        if not self.active or self.most == 1:
            return
        now = time.perf_counter()
        if self._left == 0 and self._wait <= 0 and now >= self._due:
            self._left, self._times, self._begun = 2 * PAIRS, {1: [], self.most: []}, now
        self._wait -= 1
        if self._left:
            torch.set_num_threads(1 if self._left % 2 else self.most)
        self._started = now

    def end_step(self) -> None:
        """Take the time of the step, and choose after the last one of a comparison."""
        if not self._left:
            return
        now = time.perf_counter()
        self._times[torch.get_num_threads()].append(now - self._started)
        self._left -= 1
        if self._left == 0:
            one, all_of_them = (median(times[1:]) for times in self._times.values())
            self.chosen = self.most if all_of_them * (1 + self.gain) <= one else 1
            torch.set_num_threads(self.chosen)
            self._due = now + max(self.every, LEAST_REST * (now - self._begun))


class Threads(Callback):
    """Chooses the thread count of a fit on the CPU while it runs; see ThreadChoice. Nothing on a GPU."""

    def __init__(self, seconds: float = 30.0, gain: float = 0.15) -> None:
        for name, value in (("seconds", seconds), ("gain", gain)):
            if not value >= 0:
                raise UserError(f"callbacks.threads.{name}={value}: choose a number from 0")
        self.choice = ThreadChoice(seconds, gain)
        self._entered = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.choice.active = pl_module.device.type == "cpu"
        self.choice.__enter__()
        self._entered = True

    def on_train_batch_start(self, *_: Any) -> None:
        self.choice.begin_step()

    def on_train_batch_end(self, *_: Any) -> None:
        self.choice.end_step()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._entered:
            self.choice.__exit__()
