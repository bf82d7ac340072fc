"""A training loop of a given number of steps outside Lightning, with a progress bar."""

import sys
from collections.abc import Callable

from tqdm import tqdm

LAYOUT = "{desc} {percentage:3.0f}% |{bar:30}| {n_fmt}/{total_fmt} steps  {elapsed}, {remaining} left{postfix}"


def take_steps(steps: int, name: str, step: Callable[[int, float], float]) -> None:
    """Call `step(taken, progress)`, which returns its loss, `steps` times.

    `taken`: the number of steps before it; `progress`: their share of `steps`, 0 to below 1. `name` labels the bar.
    """
    interval = 0.1 if sys.stderr.isatty() else 10.0  # seconds; longer in a log file, where each update adds a line
    with tqdm(total=steps, desc=name, bar_format=LAYOUT, mininterval=interval) as bar:
        for taken in range(steps):
            loss = step(taken, taken / steps)
            bar.set_postfix_str(f"loss {loss:.2f}", refresh=False)
            bar.update()
