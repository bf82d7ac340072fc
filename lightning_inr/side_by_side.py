"""Calls in several threads of the CPU, each of which computes alone.

Where a call is too small to be divided, threads that share it wait for each other at every operation, and far longer on
busy cores (OpenMP).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def map_side_by_side(call: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """The results of `call` for each item, in order; at most `threads` are computed before they are asked for."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    ahead: deque[Future[R]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(call, item))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # a thread that sets its own number sets that of new threads, too
