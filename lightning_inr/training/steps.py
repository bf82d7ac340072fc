"""A given number of training steps outside Lightning, with a progress line."""

import sys
from collections.abc import Callable

from tqdm import tqdm

LAYOUT = "{desc} {percentage:3.0f}% |{bar:30}| {n_fmt}/{total_fmt} steps  {elapsed}, {remaining} left{postfix}"


def take_steps(steps: int, name: str, step: Callable[[int, float], float]) -> None:
    """Call `step(taken, progress)`, which returns its loss, `steps` times; `progress` is the share taken before it."""
    rest = 0.1 if sys.stderr.isatty() else 10.0  # seconds between two lines of a log file
    with tqdm(total=steps, desc=name, bar_format=LAYOUT, mininterval=rest) as bar:
        for taken in range(steps):
            loss = step(taken, taken / steps)
            bar.set_postfix_str(f"loss {loss:.2f}", refresh=False)
            bar.update()
