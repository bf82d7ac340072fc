"""Standard input as a file."""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_inr.errors import UserError
from lightning_inr.paths import alone_in, writing

LARGEST_INPUT = 2**34  # bytes that are read from standard input


@contextmanager
def named_file(name: str, suffix: str) -> Iterator[str]:
    """`name`, or for `-` a temporary file with the content of standard input; UserError if that is empty."""
    if name != "-":
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdin{suffix}"
        _read_input(path)
        yield str(path)


@contextmanager
def named_video(name: str, out: Path) -> Iterator[str]:
    """`name`, or for `-` a y4m file beside `out` with the content of standard input, named by its checksum.

    A fit is resumed only if the path of its video is the same; so the same content must have the same path. UserError
    if standard input is empty, or if another process encodes it to `out`.
    """
    if name != "-":
        yield name
        return
    folder = out.expanduser().absolute().with_name(f".{out.name}.stdin")
    with alone_in(folder, "out"):
        try:
            unnamed = folder / "stdin.y4m"
            path = folder / f"{_read_input(unnamed)}.y4m"
            unnamed.replace(path)
            yield str(path)
        finally:
            shutil.rmtree(folder)


def _read_input(path: Path) -> str:
    """Write standard input to `path`, and return its checksum; UserError if it is empty, too long or a terminal."""
    if sys.stdin.isatty():
        raise UserError("-: standard input is a terminal; name a file, or use a pipe")
    checksum = hashlib.sha256()
    with writing(path) as draft, draft.open("wb") as file:
        while (room := LARGEST_INPUT - file.tell()) > 0 and (piece := sys.stdin.buffer.read(min(room, 2**20))):
            file.write(piece)
            checksum.update(piece)
        read = file.tell()
    if read == 0:
        raise UserError("-: standard input is empty; check the command before the pipe")
    if read == LARGEST_INPUT:
        raise UserError(f"-: standard input has over {LARGEST_INPUT} bytes; name a file")
    return checksum.hexdigest()[:16]
