"""What a folder of files can do, wherever it is."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from lightning_inr.ranges import ByteSource


class StoredFile(NamedTuple):
    """A file in a folder."""

    name: str  # relative to the folder
    size: int  # bytes
    stamp: str  # differs if the content differs; as `replace` takes it


class Folder(Protocol):
    """A folder of files; UserError in one line for every failure but the absence of a file."""

    address: str

    def read(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError if it does not exist."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless it exists; False if another call has written it.

        An answer that is lost on the network makes the second try fail: the file then counts as created here if it
        holds `data`, which must thus differ between callers.
        """
        ...

    def replace(self, name: str, data: bytes, stamp: str) -> bool:
        """Write a file if its stamp is still `stamp`; False if it has changed since. `data` as for `create`."""
        ...

    def stamp(self, name: str) -> str | None:
        """The stamp of a file; None if it does not exist."""
        ...

    def names(self, prefix: str = "") -> Iterator[StoredFile]:
        """The files whose names are `prefix` and a rest without `/`, in order of their names."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if it does not exist."""
        ...

    def ranges(self, name: str) -> ByteSource:
        """The bytes of a file, read when a slice asks for them; UserError if it does not exist."""
        ...
