"""Files read by ranges of bytes: on disk, or behind any address that fsspec knows (https://, s3://, memory://)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec

from lightning_inr.errors import UserError
from lightning_inr.paths import existing

FIRST_READ = 2**16  # bytes; holds the header of nearly every file
SILENCE = 10  # seconds after which a server counts as gone; the libraries' own limits add up to many minutes
PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs"}  # of the extra `remote`, by the protocol of an address


class ByteSource(Protocol):
    """Bytes that are read by slices, such as `bytes`."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a URL, and not the name of a local file."""
    return isinstance(path, str) and "://" in path


def located(path: str | os.PathLike[str]) -> str | Path:
    """A URL as it is; the name of a local file or folder as a path."""
    return path if isinstance(path, str) and is_address(path) else Path(path).expanduser()


class FileRanges:
    """The bytes of one file, read when a slice asks for them; the first FIRST_READ bytes are read once.

    A server that does not support ranges, or does not state the length, sends the whole file, which is then kept.
    UserError if the file is missing, or if reading fails.
    """

    def __init__(self, path: str | os.PathLike[str], option: str = "bitstream") -> None:
        self.path, self.option = os.fspath(path), option
        self.shown = without_credentials(self.path) if is_address(path) else self.path
        if not is_address(path) and not existing(path, option).is_file():
            raise UserError(f"{option}={path}: not a file; name one")
        with self._one_line_errors("check the address, or fetch the file and name it"):
            if is_address(path):
                opened: tuple[Any, str] = fsspec.url_to_fs(self.path, **system_options(self.path))
                self.system, self.name = opened
            else:  # not as an address, in which some letters have a meaning
                self.system, self.name = fsspec.filesystem("file"), str(Path(path).expanduser().absolute())
            stated = self.system.size(self.name)
            self.first = self._read(0, None if stated is None else min(stated, FIRST_READ))
        self.size = len(self.first) if stated is None else int(stated)
        self._check_length(self.first, (min(self.size, FIRST_READ), self.size))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self.size)
        if stop <= len(self.first):
            return self.first[start:stop]
        with self._one_line_errors("try again"):
            data = self._read(start, stop)
        self._check_length(data, (max(0, stop - start),))
        return data

    def _read(self, start: int, stop: int | None) -> bytes:
        if stop is not None and stop <= start:
            return b""
        data: bytes = self.system.cat_file(self.name, start=start, end=stop)
        return data

    def _check_length(self, data: bytes, allowed: tuple[int, ...]) -> None:
        if len(data) not in allowed:
            reason = f"{len(data)} bytes came, not {allowed[0]}"
            raise UserError(f"{self.option}={self.shown}: {reason}; try again, or fetch the file and name it")

    @contextmanager
    def _one_line_errors(self, remedy: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each of fsspec's systems has error classes of its own
            raise UserError(f"{self.option}={self.shown}: {failure_line(self.path, error, remedy)}") from error


def system_options(address: str) -> dict[str, Any]:
    """Options of fsspec for the file system of an address, by which it waits SILENCE seconds for a server."""
    match address.partition("://")[0]:
        case "http" | "https":
            from aiohttp import ClientTimeout

            timeout = ClientTimeout(sock_connect=SILENCE, sock_read=SILENCE)
            # A range is one of the file, and not of a compressed form of it.
            return {"client_kwargs": {"timeout": timeout}, "headers": {"Accept-Encoding": "identity"}}
        case "s3":
            retries = {"max_attempts": 0}  # by botocore; s3fs tries five times
            return {"config_kwargs": {"connect_timeout": SILENCE, "read_timeout": SILENCE, "retries": retries}}
        case _:
            return {}


def without_credentials(address: str) -> str:
    """An address for messages and records: `***` in place of its user and password, and of its query."""
    scheme, _, rest = address.partition("://")
    rest, question, _ = rest.partition("?")
    server, slash, path = rest.partition("/")
    _, at, host = server.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{host}{slash}{path}{'?***' if question else ''}"


def failure_line(address: str, error: Exception, remedy: str) -> str:
    """`reason; remedy`, in one line; missing packages and credentials have remedies of their own."""
    return f"{_reason(error)}; {_special_remedy(address, error) or remedy}"


def _reason(error: BaseException) -> str:
    """What failed, in one line."""
    if isinstance(error, FileNotFoundError):
        if error.__cause__ is None:
            return "no such file"
        error = error.__cause__  # fsspec reports every refusal of an HTTP server as a missing file
    if hasattr(error, "status") and hasattr(error, "message"):  # aiohttp's own text repeats the address
        return f"{error.status} {error.message}"
    return str(error).partition("\n")[0] or type(error).__name__


def _special_remedy(address: str, error: Exception) -> str | None:
    """What helps against a missing package or missing credentials; None for other errors."""
    protocol = address.partition("://")[0]
    if isinstance(error, ImportError) and protocol in PACKAGES:
        return f"{PACKAGES[protocol]} is needed: pip install 'lightning_inr[remote]'"
    if protocol == "s3" and (isinstance(error, PermissionError) or "credentials" in str(error)):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket"
    return None
