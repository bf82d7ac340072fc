"""Steps are taken, counted and saved; a checkpoint that cannot be continued is named."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_inr.errors import Terminated, UserError
from lightning_inr.training.teachers import loop
from lightning_inr.training.teachers.loop import TrainingCheckpoint, TrainingPhase, run_training, take_step
from tests.training.teachers.interruption import check_resumption, interrupt

OPTIONS = {"seed": 0, "training": {"learning_rate": 0.1}}


class LineTraining:
    """Training of a line in two phases: its slope, then its offset."""

    def __init__(self) -> None:
        self.line = nn.Linear(2, 1)
        self.random = Random(0)
        self.phases: Sequence[TrainingPhase] = [
            TrainingPhase(name, steps, self.loss, torch.optim.Adam([parameter]), 0.1)
            for name, steps, parameter in (("slope", 4, self.line.weight), ("offset", 2, self.line.bias))
        ]

    def state_dict(self) -> dict[str, Any]:
        return self.line.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.line.load_state_dict(state)

    def loss(self) -> Tensor:
        inputs = torch.randn(8, 2)
        return 0.1 * (self.line(inputs) - self.random.random()).square().mean()  # its gradients are not clipped


@pytest.fixture
def checkpoint(tmp_path: Path) -> TrainingCheckpoint:
    return TrainingCheckpoint(tmp_path / "teacher", "teacher_dir", OPTIONS)


def test_the_learning_rate_rises_and_falls() -> None:
    training = LineTraining()
    phase = training.phases[0]._replace(steps=80)
    rates = []
    for taken in range(80):
        take_step(phase, taken)
        rates.append(phase.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.1 / 40)
    assert rates[40] == pytest.approx(0.05)  # half of the cosine
    assert 0 < rates[79] < 0.001
    assert rates[:26] == sorted(rates[:26])
    assert rates[40:] == sorted(rates[40:], reverse=True)


def test_steps_are_counted_and_shown(checkpoint: TrainingCheckpoint, capsys: pytest.CaptureFixture[str]) -> None:
    run_training(LineTraining(), checkpoint)
    shown = capsys.readouterr().err
    assert all(each in shown for each in ("slope", "4/4 steps", "offset", "2/2 steps", "left, loss"))


@pytest.mark.parametrize("after", range(1, 6))
def test_a_training_goes_on_as_if_it_had_not_been_interrupted(tmp_path: Path, after: int) -> None:
    check_resumption(LineTraining, tmp_path, after)


def test_what_is_resumed_is_said(checkpoint: TrainingCheckpoint, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt(LineTraining(), checkpoint, after=5)
    run_training(LineTraining(), checkpoint)
    said = capsys.readouterr()
    assert f"the training goes on after 5 steps, from {checkpoint.path}" in said.out
    assert "1/2 steps" in said.err


def test_the_checkpoint_is_a_file_beside_the_folder(checkpoint: TrainingCheckpoint, tmp_path: Path) -> None:
    run_training(LineTraining(), checkpoint)
    assert list(tmp_path.iterdir()) == [tmp_path / "teacher.ckpt"]
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
def test_an_interruption_says_how_to_go_on(
    checkpoint: TrainingCheckpoint, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def step(phase: TrainingPhase, taken: int) -> float:
        if taken == 1:
            raise stop
        return 0.0

    monkeypatch.setattr(loop, "take_step", step)
    with pytest.raises(stop) as caught:
        run_training(LineTraining(), checkpoint)
    assert not str(caught.value)  # there is nothing yet to go on from
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(stop, match=r"the same command goes on from .*teacher\.ckpt"):
        run_training(LineTraining(), checkpoint)


def test_a_checkpoint_of_other_options_is_refused(checkpoint: TrainingCheckpoint) -> None:
    interrupt(LineTraining(), checkpoint, after=2)
    other = TrainingCheckpoint(checkpoint.folder, "teacher_dir", {**OPTIONS, "training": {"learning_rate": 0.2}})
    with pytest.raises(UserError) as caught:
        run_training(LineTraining(), other)
    assert str(caught.value) == (
        f"{checkpoint.path}: checkpoint of a training with other options (training.learning_rate: 0.1 there, 0.2 now); "
        "give the same options, choose another teacher_dir, or remove the file to start over"
    )
    assert checkpoint.load(LineTraining()) == 2


class _Command:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text", pickle.dumps(_Command())])
def test_a_file_that_is_no_checkpoint_is_named(
    checkpoint: TrainingCheckpoint, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.folder.parent)
    checkpoint.path.write_bytes(data)
    _check_refused(checkpoint)


def test_a_changed_byte_is_found(checkpoint: TrainingCheckpoint) -> None:
    training = LineTraining()
    checkpoint.save(training, 3)
    data = checkpoint.path.read_bytes()
    weight = training.line.weight.detach().numpy().tobytes()
    assert data.count(weight) == 1
    checkpoint.path.write_bytes(data.replace(weight, weight[:-1] + bytes([weight[-1] ^ 1])))
    _check_refused(checkpoint, "wrong checksum")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"taken": 7}, "7 of 6 steps"),
        ({"taken": "1"}, "1 of 6 steps"),
        ({"training": {"weight": torch.zeros(3, 3), "bias": torch.zeros(1)}}, "loading state_dict"),
        ({"moments": [{}]}, "shorter"),
        ({"moments": [{0: {"step": torch.zeros(()), "exp_avg": torch.zeros(9)}}, {}]}, "no moments of parameter 0"),
        ({"moments": [{1: {}}, {}]}, "out of range"),
        ({"random": (3, (1, 2), None)}, "size"),
        ({"torch": torch.zeros(3)}, "RNG state"),
        ({"settings": None}, ""),
        ({"executed": _Command()}, "weights_only"),
    ],
)
def test_content_that_was_never_saved_is_refused(
    checkpoint: TrainingCheckpoint, change: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.folder.parent)
    checkpoint.save(LineTraining(), 3)
    content = torch.load(checkpoint.path, weights_only=True)
    torch.save(content | change, checkpoint.path)
    _check_refused(checkpoint, reason)


def _check_refused(checkpoint: TrainingCheckpoint, reason: str = "") -> None:
    with pytest.raises(UserError) as caught:
        run_training(LineTraining(), checkpoint)
    assert str(caught.value).startswith(f"{checkpoint.path}: ")
    assert reason in str(caught.value)
    assert "remove it, and the training starts over" in str(caught.value) or "remove the file" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("executed").exists()
    checkpoint.remove()
    run_training(LineTraining(), checkpoint)


def test_memory_beyond_a_moment_is_not_written(checkpoint: TrainingCheckpoint) -> None:
    training = LineTraining()
    take_step(training.phases[0], 0)
    checkpoint.save(training, 1)
    content = torch.load(checkpoint.path, weights_only=True)
    content["moments"][0][0]["exp_avg"] = torch.zeros(1).expand(1, 2)  # two numbers in the memory of one
    torch.save(content, checkpoint.path)
    resumed = LineTraining()
    checkpoint.load(resumed)
    [moments] = resumed.phases[0].optimizer.state.values()
    assert moments["exp_avg"].is_contiguous()
