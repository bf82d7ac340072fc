"""The number of threads of a fit on the CPU, chosen by the work of a step and never by measured time.

The last bits of sums depend on the number of threads: a choice that depended on the machine's load would give different
files on a busy and on an idle machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_inr.errors import UserError

# Multiply-adds of a step up to which one thread is used. Time that a second core saves: none at 58 million, a sixth at
# 129 million, 40 % from 460 million on (experiments/benchmarks/threads.py). On a second thread of the same core a step
# of 153 million takes 1.3 times as long.
LITTLE_WORK = 200_000_000
VARIABLE = "OMP_NUM_THREADS"


def choose_threads(requested: int | None, multiply_adds: float) -> int:
    """The threads for a step of so many multiply-adds; `requested` if it is given, UserError if it is below 1."""
    if requested is None:
        return torch.get_num_threads() if multiply_adds > LITTLE_WORK else 1
    if requested < 1:
        raise UserError(f"threads={requested}: choose at least 1, or null")
    return requested


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of CPU threads inside the context, and restore it after."""
    before, variable = torch.get_num_threads(), os.environ.get(VARIABLE)
    torch.set_num_threads(count)
    os.environ[VARIABLE] = str(count)  # without it, Lightning's DDP chooses a number of its own
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if variable is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = variable
