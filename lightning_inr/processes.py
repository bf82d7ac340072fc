"""Processes that this one starts: they end with it, leave Ctrl-C to it, and do not import the program's main module."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of new processes that end with this one, however this one ends; submit in `starting_processes`."""
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawning, initializer=end_with_parent) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, SystemExit):
            for process in multiprocessing.active_children():  # otherwise the pool would wait for the results
                process.kill()
            raise


@contextmanager
def starting_processes() -> Iterator[None]:
    """Processes that start here ignore SIGINT, do not import the main module, and have no start method set."""
    with _no_interrupts_in_children(), _without_main_module(), _without_start_method():
        yield


def end_with_parent() -> None:
    """End this process when its parent ends, even if it is killed; to be called in the process that was started."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _no_interrupts_in_children() -> Iterator[None]:
    """Processes that start here ignore SIGINT: Ctrl-C sends it to all processes of a terminal at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Processes that start here do not import the program's main module, as multiprocessing does by default.

    A user's script that calls `fit` at its top level would otherwise call it again there.
    """
    main = sys.modules["__main__"]
    names: dict[str, Any] = main.__dict__
    hidden: dict[str, Any] = {name: names[name] for name in ("__spec__", "__file__") if name in names}
    names |= dict.fromkeys(hidden)
    try:
        yield
    finally:
        names |= hidden


@contextmanager
def _without_start_method() -> Iterator[None]:
    """Processes that start here do not set this process's start method: joblib's workers have one of their own."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(None, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)
