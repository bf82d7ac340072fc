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

KIND, NUMBER = sys.argv[1], int(sys.argv[2])
HERE = os.path.realpath(tempfile.gettempdir() if KIND == "full_temp" else os.getcwd())
seen = 0


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: Python calls it before it acts."""
    global seen
    if event not in ("open", "os.rename", "os.remove"):
        return
    path = arguments[0]
    writing = event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    if not writing or not isinstance(path, str | bytes | os.PathLike):
        return
    where = os.path.realpath(os.fsdecode(path))
    if not where.startswith(HERE + os.sep) or where.endswith((".pyc", ".lock")):
        return
    seen += 1
    if KIND == "kill" and seen == NUMBER:
        os.kill(os.getpid(), signal.SIGKILL)
    if KIND.startswith("full") and seen >= NUMBER and event == "open":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)


if __name__ == "__main__":
    sys.argv[1:] = sys.argv[3:]
    sys.addaudithook(watch)
    from lightning_inr.run import main

    try:
        main()
    finally:
        if KIND == "count":
            print(f"moments: {seen}", flush=True)
