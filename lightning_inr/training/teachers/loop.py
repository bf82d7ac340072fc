"""A training loop outside Lightning that goes on from a checkpoint after an interruption, for small teachers."""

import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_inr.errors import Terminated, UserError, printable
from lightning_inr.paths import writing
from lightning_inr.progress import ProgressBar

LAYOUT = "{desc} {percentage:3.0f}% |{bar:30}| {n_fmt}/{total_fmt} steps  {elapsed}, {remaining} left{postfix}"
WARM_UP = 40  # steps over which the learning rate of a phase rises linearly
MAX_GRADIENT_NORM = 1.0
CHECKPOINT_SECONDS = 10.0  # time between two checkpoints


class TrainingPhase(NamedTuple):
    """Steps with one loss and one optimiser: Adam or AdamW, with one group of parameters."""

    name: str  # label of the progress bar
    steps: int
    loss: Callable[[], Tensor]  # of a new batch
    optimizer: torch.optim.Optimizer
    learning_rate: float  # the peak


class ResumableTraining(Protocol):
    """A training in phases, one after the other, whose state can be saved and restored between two steps."""

    phases: Sequence[TrainingPhase]
    random: Random  # draws all batches

    def state_dict(self) -> dict[str, Any]:
        """What steps change except optimisers and random generators, in types that `weights_only` loading allows."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; any error for values that it cannot have returned."""


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The checkpoint of a training: a file beside the folder in which the trained teacher will be saved."""

    folder: Path
    option: str  # that names the folder
    settings: Mapping[str, Any]  # the options that the trained weights depend on, as plain values

    @property
    def path(self) -> Path:
        """The file; it exists only while the training is not finished."""
        folder = self.folder.resolve()
        return folder.parent / f"{folder.name}.ckpt"

    def save(self, training: ResumableTraining, taken: int) -> None:
        """Replace the file by the state after `taken` steps; UserError if it cannot be written."""
        content = {
            "settings": dict(self.settings),
            "taken": taken,
            "training": training.state_dict(),
            "moments": [phase.optimizer.state_dict()["state"] for phase in training.phases],
            "random": training.random.getstate(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        }
        with writing(self.path) as draft:
            torch.save(content, draft)

    def load(self, training: ResumableTraining) -> int:
        """Restore the state in the file; the number of steps taken, 0 without a file.

        UserError if the file is damaged, or of a training with other settings.
        """
        if not self.path.is_file():
            return 0
        try:
            content = _read(self.path)
            changed = list(_differences(content["settings"], self.settings))
            if not changed:
                return _restore(training, content)
        except Exception as error:  # damage raises errors of many types
            reason = printable(str(error).strip().partition("\n")[0], 200) or type(error).__name__
            raise UserError(
                f"{self.path}: damaged checkpoint ({reason}); remove it, and the training starts over"
            ) from error
        raise UserError(
            f"{self.path}: checkpoint of a training with other options ({'; '.join(changed[:3])}); "
            f"give the same options, choose another {self.option}, or remove the file to start over"
        )

    def remove(self) -> None:
        """Remove the file, when the trained teacher has been saved."""
        self.path.unlink(missing_ok=True)


def run_training(training: ResumableTraining, checkpoint: TrainingCheckpoint) -> None:
    """Take the steps that are left, after those of the checkpoint if there is one; save it from time to time.

    The checkpoint is also saved after the last step, and stays: the caller saves the trained teacher and removes it.
    """
    taken = checkpoint.load(training)
    if taken:
        print(f"the training goes on after {taken} steps, from {checkpoint.path}")
    try:
        _take_steps(training, checkpoint, taken)
    except (KeyboardInterrupt, Terminated) as stop:
        if not checkpoint.path.is_file():
            raise
        raise type(stop)(f"the same command goes on from {checkpoint.path}") from stop


def take_step(phase: TrainingPhase, taken: int) -> float:
    """Take one step of a phase, after `taken` of its steps; returns its loss."""
    rate = min(1.0, (taken + 1) / WARM_UP) * (1 + math.cos(math.pi * (taken / phase.steps))) / 2
    (group,) = phase.optimizer.param_groups
    group["lr"] = rate * phase.learning_rate
    loss = phase.loss()
    phase.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    phase.optimizer.step()
    return float(loss.detach())


def _take_steps(training: ResumableTraining, checkpoint: TrainingCheckpoint, taken: int) -> None:
    saved = time.monotonic()
    before = 0  # steps of earlier phases
    for phase in training.phases:
        done = min(max(taken - before, 0), phase.steps)
        with ProgressBar(total=phase.steps, initial=done, desc=phase.name, bar_format=LAYOUT) as bar:
            for number in range(done, phase.steps):
                loss = take_step(phase, number)
                bar.show(f"loss {loss:.2f}", loss=loss)
                bar.update()
                if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                    checkpoint.save(training, before + number + 1)
                    saved = time.monotonic()
        before += phase.steps
    checkpoint.save(training, before)


def _read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; torch.load does not compare the checksums in the file."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _differences(there: Any, now: Any, name: str = "") -> Iterator[str]:
    """The options, by dotted name, whose values differ."""
    if isinstance(there, Mapping) and isinstance(now, Mapping):
        for key in {**there, **now}:
            yield from _differences(there.get(key), now.get(key), f"{name}.{key}".strip("."))
    elif there != now:
        yield f"{name}: {printable(str(there), 40)} there, {printable(str(now), 40)} now"


def _restore(training: ResumableTraining, content: Mapping[str, Any]) -> int:
    """Restore the content of a checkpoint; the number of steps taken."""
    taken, steps = content["taken"], sum(phase.steps for phase in training.phases)
    if not isinstance(taken, int) or not 0 <= taken <= steps:
        raise ValueError(f"{taken} of {steps} steps")
    training.load_state_dict(content["training"])
    for phase, moments in zip(training.phases, content["moments"], strict=True):
        _load_moments(phase.optimizer, moments)
    training.random.setstate(content["random"])
    torch.set_rng_state(content["torch"])
    if content["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(content["cuda"])
    return taken


def _load_moments(optimizer: torch.optim.Optimizer, moments: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Restore the moments of Adam or AdamW. Its options are not read from the checkpoint."""
    (group,) = optimizer.param_groups
    for place, values in moments.items():
        size = group["params"][place].shape
        if {name: value.shape for name, value in values.items()} != {"step": (), "exp_avg": size, "exp_avg_sq": size}:
            raise ValueError(f"no moments of parameter {place}")
    # The fused optimiser takes the memory of a moment for as large as that of its parameter; a clone is, in any case.
    cloned = {place: {name: value.clone() for name, value in values.items()} for place, values in moments.items()}
    optimizer.load_state_dict({"state": cloned, "param_groups": optimizer.state_dict()["param_groups"]})
