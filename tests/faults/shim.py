"""A command of the program in which the file system fails at a chosen moment: python shim.py KIND NUMBER OPTIONS…

A *change* is a file below the working folder that is opened for writing, renamed or removed; a *read* is one that is
opened for reading. KIND:

    count      print how many changes and reads there were
    kill       kill the process (SIGKILL) just before change NUMBER
    full       change NUMBER and all later openings for writing fail, as on a full disk
    full_temp  the same in the folder for temporary files
    failing    read NUMBER and all later ones fail, as on a damaged disk
    slow       every read waits NUMBER milliseconds
"""

import errno
import os
import signal
import sys
import tempfile
import time
from typing import Any


class FileSystemHook:
    """An audit hook, called by Python before each operation."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind, self.number = kind, number
        self.folder = os.path.realpath(tempfile.gettempdir() if kind == "full_temp" else os.getcwd())
        self.changes = self.reads = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove") or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        where = os.path.realpath(os.fsdecode(arguments[0]))
        if not where.startswith(self.folder + os.sep) or where.endswith(".pyc"):
            return
        opened = event == "open"
        if opened and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            self.read(where)
        else:
            self.change(where, opened)

    def change(self, where: str, opened: bool) -> None:
        self.changes += 1
        if self.kind == "kill" and self.changes == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind.startswith("full") and self.changes >= self.number and opened:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)

    def read(self, where: str) -> None:
        if os.path.isdir(where):
            return
        self.reads += 1
        if self.kind == "slow":
            time.sleep(self.number / 1000)
        if self.kind == "failing" and self.reads >= self.number:
            raise OSError(errno.EIO, os.strerror(errno.EIO), where)


if __name__ == "__main__":  # the measuring process imports this file too
    hook = FileSystemHook(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    sys.addaudithook(hook)
    from lightning_inr.run import main

    try:
        main()
    finally:
        if hook.kind == "count":
            print(f"changes: {hook.changes} reads: {hook.reads}", flush=True)
