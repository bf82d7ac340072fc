"""When a call is replayed, with a stand-in for the graph: a replay writes a new value where the first one was."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_inr import cuda_graphs
from lightning_inr.cuda_graphs import CALLS_BEFORE_CAPTURE, MOST_CAPTURES, RepeatedCall


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Tensor]]:
    """The functions that were recorded."""
    functions = []

    def record(function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        functions.append(function)
        result = torch.full_like(function(), float("nan"))  # recording computes nothing

        def replay() -> None:
            result.copy_(function())

        return result, replay

    monkeypatch.setattr(cuda_graphs, "record", record)
    return functions


def test_a_call_is_due_after_several_with_the_same_key(recorded: list[Callable[[], Tensor]]) -> None:
    call = RepeatedCall[Tensor]("a call")
    assert [call.is_due("a") for _ in range(CALLS_BEFORE_CAPTURE)] == [False] * CALLS_BEFORE_CAPTURE
    assert not call.is_due("b")  # begins anew
    assert [call.is_due("a") for _ in range(CALLS_BEFORE_CAPTURE + 1)] == [False] * CALLS_BEFORE_CAPTURE + [True]


def test_results_stay_in_the_same_memory(recorded: list[Callable[[], Tensor]]) -> None:
    call, values = RepeatedCall[Tensor]("a call"), iter(torch.arange(9.0))
    for _ in range(CALLS_BEFORE_CAPTURE + 1):
        call.is_due("a")
    first = call.replay("a", lambda: next(values))
    assert first is not None
    assert float(first) == 1  # the first value was taken by the recording
    assert call.replay("a", lambda: next(values)) is first
    assert float(first) == 2
    assert len(recorded) == 1
    assert not call.is_due("other")
    assert call.is_due("a")  # the graph of "a" is still there


def test_keys_that_change_often_are_given_up(recorded: list[Callable[[], Tensor]]) -> None:
    call = RepeatedCall[Tensor]("a call")
    for key in range(2 * MOST_CAPTURES):
        for _ in range(2 * CALLS_BEFORE_CAPTURE):
            if call.is_due(key):
                call.replay(key, lambda: torch.zeros(()))
    assert len(recorded) == MOST_CAPTURES


def test_a_call_that_cannot_be_captured_runs_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(function: Callable[[], Tensor]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graphs, "record", fail)
    call = RepeatedCall[Tensor]("this call")
    for _ in range(CALLS_BEFORE_CAPTURE + 1):
        due = call.is_due("a")
    assert due
    assert call.replay("a", lambda: torch.zeros(())) is None
    assert not any(call.is_due("a") for _ in range(3 * CALLS_BEFORE_CAPTURE))
    assert capsys.readouterr().out == (
        "this call cannot be a CUDA graph, and runs without: operation not permitted when stream is capturing\n"
    )
