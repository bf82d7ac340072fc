"""Trainings that are interrupted in a step and go on in a new object, as in a new process."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_inr.training.teachers import loop
from lightning_inr.training.teachers.loop import ResumableTraining, TrainingCheckpoint, run_training


class KilledError(Exception):
    """The end of a process."""


def interrupt(training: ResumableTraining, checkpoint: TrainingCheckpoint, after: int) -> None:
    """Train until the loss of step `after` (from 0) is computed; a checkpoint is saved after each step before it."""
    numbers = count()

    def interrupted(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            value = loss()  # which draws a batch that the resumed training must draw again
            if next(numbers) == after:
                raise KilledError
            return value

        return compute

    training.phases = [phase._replace(loss=interrupted(phase.loss)) for phase in training.phases]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(KilledError):
            run_training(training, checkpoint)


def check_resumption(make: Callable[[], ResumableTraining], folder: Path, after: int) -> None:
    """Check that a training interrupted in step `after` has the weights of an uninterrupted one in the end."""
    whole, resumed = (TrainingCheckpoint(folder / name, "folder", {"seed": 0}) for name in ("whole", "resumed"))
    torch.manual_seed(0)
    expected = make()
    run_training(expected, whole)
    torch.manual_seed(0)
    interrupt(make(), resumed, after)
    training = make()  # with other random weights
    run_training(training, resumed)
    assert resumed.load(make()) == sum(phase.steps for phase in training.phases)
    _check_equal(training.state_dict(), expected.state_dict())


def _check_equal(one: object, other: object) -> None:
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in one:
            _check_equal(one[name], other[name])
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other)
        for each in zip(one, other, strict=True):
            _check_equal(*each)
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other
