"""How many threads a fit on the CPU uses: by the work of a step and never by the clock.

Sums differ in their last bits with the number of threads, so a choice that hangs on the machine's load would give
another file on a busy machine than on an idle one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_inr.errors import UserError

# Multiply-adds of a step up to which a second thread saves too little time: with 58 million nothing, with 129 million a
# sixth, from 460 million on 40 % (experiments/benchmarks/threads.py).
LITTLE_WORK = 100_000_000


def choose_threads(asked: int | None, multiply_adds: float) -> int:
    """The threads of a step of so many multiply-adds; UserError if `asked` is less than 1."""
    if asked is None:
        return torch.get_num_threads() if multiply_adds > LITTLE_WORK else 1
    if asked < 1:
        raise UserError(f"threads={asked}: choose at least 1, or null")
    return asked


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Compute on the CPU with so many threads inside, and with as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
