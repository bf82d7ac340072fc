"""A folder on disk."""

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from lightning_inr.errors import UserError
from lightning_inr.paths import HOST, write_bytes
from lightning_inr.ranges import ByteSource, FileRanges
from lightning_inr.storage.folder import StoredFile


class LocalFolder:
    """A folder on disk, made by the first file that is written to it."""

    def __init__(self, path: Path, option: str) -> None:
        self.path, self.address, self.option = path, str(path), option

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._error(name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        write_bytes(self.path / name, data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Folder`."""
        target = self.path / name
        draft = target.with_name(f".{sha256(name.encode()).hexdigest()[:16]}.{os.getpid()}@{HOST}.new")
        write_bytes(draft, data)
        try:
            os.link(draft, target)  # unlike a rename, it fails if the target exists
        except FileExistsError:
            return False
        except OSError as error:
            raise self._error(name, error) from error
        finally:
            draft.unlink(missing_ok=True)
        return True

    def replace(self, name: str, data: bytes, stamp: str) -> bool:
        """See `Folder`. Processes that replace one file at once must hold a lock: the check precedes the write."""
        if self.stamp(name) != stamp:
            return False
        self.write(name, data)
        return True

    def stamp(self, name: str) -> str | None:
        """See `Folder`."""
        try:
            return _stamp((self.path / name).stat())
        except FileNotFoundError:
            return None

    def names(self, prefix: str = "") -> Iterator[StoredFile]:
        """See `Folder`; hidden files, which are drafts, are left out."""
        parent, _, start = prefix.rpartition("/")
        folder = self.path / parent
        if not folder.is_dir():
            return
        for name in sorted(os.listdir(folder)):
            if not name.startswith(start) or name.startswith("."):
                continue
            with suppress(FileNotFoundError):  # removed since it was listed
                if (folder / name).is_file():
                    state = (folder / name).stat()
                    yield StoredFile(f"{parent}/{name}" if parent else name, state.st_size, _stamp(state))

    def remove(self, name: str) -> None:
        """See `Folder`."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._error(name, error) from error

    def ranges(self, name: str) -> ByteSource:
        """See `Folder`."""
        return FileRanges(self.path / name, self.option)

    def _error(self, name: str, error: OSError) -> UserError:
        return UserError(f"{self.option}={self.path / name}: {error.strerror}; name a folder with permission")


def _stamp(state: os.stat_result) -> str:
    return f"{state.st_ino} {state.st_size} {state.st_mtime_ns}"
