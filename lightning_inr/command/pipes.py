"""Standard input as a file."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_inr.errors import UserError

LARGEST_INPUT = 2**34  # bytes that are read from standard input


@contextmanager
def named_file(name: str, suffix: str) -> Iterator[str]:
    """`name`, or for `-` a temporary file with the content of standard input; UserError if that is empty."""
    if name != "-":
        yield name
        return
    if sys.stdin.isatty():
        raise UserError("-: standard input is a terminal; name a file, or use a pipe")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdin{suffix}"
        with path.open("wb") as file:
            while (room := LARGEST_INPUT - file.tell()) > 0 and (piece := sys.stdin.buffer.read(min(room, 2**20))):
                file.write(piece)
            read = file.tell()
        if read == 0:
            raise UserError("-: standard input is empty; check the command before the pipe")
        if read == LARGEST_INPUT:
            raise UserError(f"-: standard input has over {LARGEST_INPUT} bytes; name a file")
        yield str(path)
