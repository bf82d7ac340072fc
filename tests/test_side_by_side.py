"""Calls in several threads: their order, their number, errors, an early end, and PyTorch's threads after them."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.side_by_side import map_side_by_side
from lightning_inr.types import VideoShape
from tests.conftest import small_model


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_that_compute_alone() -> None:
    def call(number: int) -> tuple[int, int, int]:
        time.sleep(0.02 * (number % 3))
        return number, torch.get_num_threads(), threading.get_ident()

    found = list(map_side_by_side(call, range(9), 3))
    assert [number for number, *_ in found] == list(range(9))
    assert {threads for _, threads, _ in found} == {1}
    assert 2 <= len({thread for *_, thread in found}) <= 3
    assert torch.get_num_threads() == 3


def test_no_more_are_computed_than_there_are_threads() -> None:
    begun: list[int] = []
    results = map_side_by_side(begun.append, range(100), 2)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 3
    results.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 3


def test_an_error_is_that_of_its_call() -> None:
    def call(number: int) -> float:
        return 1 / (2 - number)

    results = map_side_by_side(call, range(5), 2)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", ["latent_inr_grids", "nerv"])
def test_frames_are_those_of_one_thread(name: str) -> None:
    net: VideoRepresentation = small_model(name, video=VideoShape(40, 48, 64, 25.0)).eval()
    together = list(net.render(range(40)))
    torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(net.render(range(40)), together, strict=True))
