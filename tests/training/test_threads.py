"""The number of threads follows from the work of a step and is restored afterwards."""

from collections.abc import Iterator

import pytest
import torch

from lightning_inr.errors import UserError
from lightning_inr.training.threads import LITTLE_WORK, choose_threads, use_threads


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    with use_threads(2):
        yield


@pytest.mark.parametrize(
    ("requested", "work", "chosen"), [(None, 1, 1), (None, LITTLE_WORK, 1), (None, 2 * LITTLE_WORK, 2), (3, 1, 3)]
)
def test_small_steps_take_one_thread(requested: int | None, work: int, chosen: int) -> None:
    assert choose_threads(requested, work) == chosen


def test_no_more_threads_than_there_were() -> None:
    with use_threads(1):  # as OMP_NUM_THREADS=1 does
        assert choose_threads(None, 2 * LITTLE_WORK) == 1


def test_threads_are_given_back_even_if_a_step_breaks() -> None:
    inside = use_threads(1)
    inside.__enter__()
    assert torch.get_num_threads() == 1
    inside.__exit__(UserError, UserError("no luck"), None)
    assert torch.get_num_threads() == 2


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match=r"threads=0: choose at least 1, or null"):
        choose_threads(0, 1)
