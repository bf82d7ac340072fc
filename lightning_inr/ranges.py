"""Files read by ranges of bytes: on disk, or behind any address that fsspec knows (https://, s3://, memory://)."""

import os
from pathlib import Path
from typing import Protocol

import fsspec

from lightning_inr.errors import UserError
from lightning_inr.paths import existing

FIRST_READ = 2**16  # bytes; holds the header of nearly every file


class ByteSource(Protocol):
    """Bytes that are read by slices, such as `bytes`."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a URL, and not the name of a local file."""
    return isinstance(path, str) and "://" in path


class FileRanges:
    """The bytes of one file, read when a slice asks for them; the first FIRST_READ bytes are read once.

    UserError if the file is missing, or if reading fails.
    """

    def __init__(self, path: str | os.PathLike[str], option: str = "bitstream") -> None:
        self.path, self.option = os.fspath(path), option
        if not is_address(path) and not existing(path, option).is_file():
            raise UserError(f"{option}={path}: not a file; name one")
        try:
            if is_address(path):
                self.system, self.name = fsspec.url_to_fs(self.path)
            else:  # not as an address, in which some letters have a meaning
                self.system, self.name = fsspec.filesystem("file"), str(Path(path).expanduser().absolute())
            self.size = int(self.system.size(self.name) or 0)
            self.first = self._read(0, min(self.size, FIRST_READ))
        except (ImportError, OSError, ValueError) as error:
            line = str(error).partition("\n")[0] or repr(error)
            raise UserError(f"{option}={path}: {line}; check the address, or fetch the file and name it") from error

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self.size)
        if stop <= len(self.first):
            return self.first[start:stop]
        try:
            return self._read(start, stop)
        except OSError as error:
            raise UserError(f"{self.option}={self.path}: {error}; try again") from error

    def _read(self, start: int, stop: int) -> bytes:
        data: bytes = self.system.cat_file(self.name, start=start, end=stop) if stop > start else b""
        return data
