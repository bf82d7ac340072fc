"""Runs `lightning_inr.run` until its standard input ends: a fit does not outlive the server that started it.

python -m lightning_inr.demo.watched OPTIONS…, in a process group of its own, with a pipe as standard input.
"""

import os
import runpy
import signal
import sys
import threading


def run_until_input_ends() -> None:
    """Run the command line, and end the whole process group when the pipe closes, for whatever reason."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    runpy.run_module("lightning_inr.run", run_name="__main__", alter_sys=True)


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    run_until_input_ends()
