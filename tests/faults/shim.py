"""A command of the program in which the file system fails at a chosen moment: python shim.py KIND NUMBER OPTIONS…

KIND: `count` prints how many times a file below the working folder was opened for writing, renamed or removed; `kill`
kills the process (SIGKILL) just before the NUMBER-th of these; `full` has that one and all later openings for writing
fail as a full disk does, there or, with `full_temp`, in the folder for temporary files.
"""

import errno
import os
import signal
import sys
import tempfile
from typing import Any


class Watch:
    """An audit hook: Python calls it before it acts."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind, self.number = kind, number
        self.folder = os.path.realpath(tempfile.gettempdir() if kind == "full_temp" else os.getcwd())
        self.seen = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove") or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        opened = event == "open"
        if opened and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        where = os.path.realpath(os.fsdecode(arguments[0]))
        if not where.startswith(self.folder + os.sep) or where.endswith(".pyc"):
            return
        self.seen += 1
        if self.kind == "kill" and self.seen == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind.startswith("full") and self.seen >= self.number and opened:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)


if __name__ == "__main__":  # the measuring process imports this file too
    watch = Watch(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    sys.addaudithook(watch)
    from lightning_inr.run import main

    try:
        main()
    finally:
        if watch.kind == "count":
            print(f"moments: {watch.seen}", flush=True)
