"""CUDA graphs of calls that repeat: one launch in place of hundreds, which take longer than their work."""

from collections.abc import Callable, Hashable
from functools import cache
from typing import Generic, TypeVar

import torch

CALLS_BEFORE_CAPTURE = 8  # with the same key; libraries initialise, and buffers are made, in the first calls
MOST_CAPTURES = 6  # of one call: each graph keeps its memory, and a key that changes often is not worth one

T = TypeVar("T")
Replay = Callable[[], None]


def usable(device: torch.device) -> bool:
    """Whether calls on this device can be CUDA graphs: on a GPU, in a program of one process."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return device.type == "cuda" and not several


def record(function: Callable[[], T]) -> tuple[T, Replay]:
    """The result of `function`, whose tensors get their values with the first replay, and the replay of its kernels."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the device
        result = function()
    return result, graph.replay


class RepeatedCall(Generic[T]):
    """A call that is replayed as a CUDA graph once it has had the same key CALLS_BEFORE_CAPTURE times in a row.

    A graph repeats the kernels of one call, with their addresses and the numbers that Python has given them; the Python
    code does not run. A key must therefore contain the addresses of all tensors that exist before the call, and each
    value on which the Python code depends. Where `function` cannot be captured, a message is printed once, and `is_due`
    is false from then on.
    """

    def __init__(self, name: str) -> None:
        self.name = name  # for messages
        self._key: Hashable = None  # of the graph
        self._latest: Hashable = None  # of the latest call
        self._repetitions = 0  # of that key
        self._captures = 0
        self._captured: tuple[T, Replay] | None = None

    def is_due(self, key: Hashable) -> bool:
        """Whether a call with this key is to be replayed; to be asked once before each call."""
        if self._captured is not None and key == self._key:
            return True
        self._repetitions = self._repetitions + 1 if key == self._latest else 0
        self._latest = key
        return self._captures < MOST_CAPTURES and self._repetitions >= CALLS_BEFORE_CAPTURE

    def replay(self, key: Hashable, function: Callable[[], T]) -> T | None:
        """The result of `function`, always in the same memory; None if it cannot be captured."""
        if self._captured is None or key != self._key:
            self._captures += 1
            self._captured = None  # its memory is free for the next graph
            try:
                self._captured, self._key = record(function), key
            except RuntimeError as error:
                self._captures = MOST_CAPTURES
                _print_once(f"{self.name} cannot be a CUDA graph, and runs without: {str(error).splitlines()[0]}")
                return None
        result, play = self._captured
        play()
        return result


@cache
def _print_once(message: str) -> None:
    print(message)
