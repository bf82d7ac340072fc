"""The faster thread count is found, kept, reconsidered, and given back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.training.steps import take_steps
from lightning_inr.training.threads import PAIRS, WARM_UP, ThreadChoice, Threads
from tests.training.test_fit import fit

COMPARED = WARM_UP + 2 * PAIRS  # steps until the first choice


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def walk(choice: ThreadChoice, durations: dict[int, float], steps: int = COMPARED) -> list[int]:
    """Take steps that last so many seconds, by thread count; the counts they were taken with."""
    counts = []
    for _ in range(steps):
        choice.begin_step()
        counts.append(torch.get_num_threads())
        time.sleep(durations[counts[-1]])
        choice.end_step()
    return counts


@pytest.mark.parametrize(("one", "both", "chosen"), [(0.02, 0.01, 2), (0.01, 0.03, 1), (0.02, 0.02, 1)])
def test_more_threads_have_to_be_clearly_faster(one: float, both: float, chosen: int) -> None:
    with ThreadChoice() as choice:
        counts = walk(choice, {1: one, 2: both})
        assert counts[WARM_UP:].count(1) == counts[WARM_UP:].count(2) == PAIRS
        assert choice.chosen == torch.get_num_threads() == chosen
        assert walk(choice, {1: 0.0, 2: 0.0}, 3) == [chosen] * 3  # the next comparison is far
    assert torch.get_num_threads() == 2


def test_a_choice_is_reconsidered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_inr.training.threads.LEAST_REST", 0.0)
    with ThreadChoice(seconds=0.0) as choice:
        walk(choice, {1: 0.02, 2: 0.01})
        assert choice.chosen == 2
        walk(choice, {1: 0.01, 2: 0.03}, 2 * PAIRS)
        assert choice.chosen == 1


def test_slow_steps_are_compared_seldom() -> None:
    with ThreadChoice(seconds=0.0) as choice:
        walk(choice, {1: 0.01, 2: 0.01})
        assert set(walk(choice, {1: 0.01, 2: 0.01}, 20)) == {choice.chosen}


def test_no_more_threads_than_there_were() -> None:
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 does
    with ThreadChoice() as choice:
        assert set(walk(choice, {1: 0.0})) == {1}
    assert torch.get_num_threads() == choice.chosen == 1


def test_a_fit_chooses_and_gives_back(images: Path) -> None:
    threads = Threads()
    fit(images, threads)
    assert threads.choice.chosen in (1, 2)
    assert torch.get_num_threads() == 2


def test_a_fit_that_breaks_gives_back(images: Path) -> None:
    class Breaking(Threads):
        def on_train_batch_end(self, *arguments: object) -> None:
            torch.set_num_threads(1)
            raise UserError("no luck")

    with pytest.raises(UserError, match="no luck"):
        fit(images, Breaking())
    assert torch.get_num_threads() == 2


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match=r"callbacks.threads.gain=-1: choose a number from 0"):
        Threads(gain=-1)


def test_steps_are_counted_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    taken: list[tuple[int, float]] = []

    def step(number: int, progress: float) -> float:
        taken.append((number, progress))
        return 0.25

    take_steps(4, "teacher", step, ThreadChoice(active=False))
    assert taken == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert "4/4 steps" in (shown := capsys.readouterr().err)
    assert "left" in shown
