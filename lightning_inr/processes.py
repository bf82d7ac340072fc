"""Processes that this one starts: they end with it, leave Ctrl-C to it, and do not import the program's main module."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def starting_processes() -> Iterator[None]:
    """Processes that start here ignore SIGINT, and do not import the program's main module.

    Ctrl-C sends SIGINT to all processes of a terminal at once. A user's script that calls `fit` at its top level would
    call it again in each process, as multiprocessing imports the main module by default.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _without_main_module():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main_module() -> Iterator[None]:
    main = sys.modules["__main__"]
    names: dict[str, Any] = main.__dict__
    hidden: dict[str, Any] = {name: names[name] for name in ("__spec__", "__file__") if name in names}
    names |= dict.fromkeys(hidden)
    try:
        yield
    finally:
        names |= hidden


def end_with_parent() -> None:
    """End this process when its parent ends, even if it is killed; to be called in the process that was started."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
