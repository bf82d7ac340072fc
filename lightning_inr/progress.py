"""Progress of long work, on stderr: a bar on a terminal, a line every ten seconds in a log, or JSON lines."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

from lightning_inr.errors import UserError

MODES = ("auto", "json", "none")  # auto: a bar, or lines in a log
SECONDS_ON_A_TERMINAL = 0.1
SECONDS_IN_A_LOG = 10.0  # each update adds a line
SECONDS_OF_JSON = 0.5
_mode: ContextVar[str] = ContextVar("progress", default="auto")


@contextmanager
def use_progress(mode: str) -> Iterator[None]:
    """Report progress in one of MODES inside the context; UserError for another."""
    if mode not in MODES:
        raise UserError(f"progress={mode}: choose one of {', '.join(MODES)}")
    before = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(before)


def current_progress() -> str:
    """The mode in use, one of MODES."""
    return _mode.get()


class ProgressBar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A tqdm bar in the mode of `use_progress`, with figures beside it.

    A line of JSON holds `stage` (the bar's description), `done`, `total`, `unit`, `seconds` since its start, and the
    figures.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.figures: dict[str, float] = {}
        self.as_json = current_progress() == "json"
        interval = SECONDS_ON_A_TERMINAL if sys.stderr.isatty() else SECONDS_IN_A_LOG
        options["mininterval"] = SECONDS_OF_JSON if self.as_json else interval
        if self.as_json:
            options["file"] = io.StringIO()  # of tqdm's own text
        if current_progress() == "none":
            options["disable"] = True
        super().__init__(*args, **options)

    def show(self, text: str, **figures: float) -> None:
        """Set the text beside the bar, and the same figures for JSON; they appear with the next update."""
        self.figures = figures
        self.set_postfix_str(text, refresh=False)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write the bar, or a line of JSON; called by tqdm where an update is due. Returns whether it was written."""
        if not self.as_json:
            return bool(super().display(msg, pos))
        line = {"stage": self.desc.removesuffix(": "), "done": self.n, "total": self.total, "unit": self.unit}
        seconds = round(self.format_dict["elapsed"], 3)
        print(json.dumps(line | {"seconds": seconds} | self.figures), file=sys.stderr, flush=True)
        return False  # no text of tqdm's to clear
