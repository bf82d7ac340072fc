"""A folder behind a URL: every call is tried again while its failure may pass."""

import errno
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec

from lightning_inr.errors import UserError
from lightning_inr.ranges import ByteSource, FileRanges, failure_line, system_options, without_credentials
from lightning_inr.storage.folder import StoredFile

TRIES = 8  # of a call that fails for a reason that may pass
PATIENCE = 60.0  # seconds after its first try, after which a call is not tried again
FIRST_PAUSE = 0.05  # seconds between the first two tries; doubles, and varies by half
LASTING_ERRORS = (FileNotFoundError, FileExistsError, PermissionError, ImportError, TypeError, ValueError)
LASTING_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOSYS, errno.EINVAL, errno.EPERM)
STAMPS = ("ETag", "etag", "last_modified", "created", "mtime")  # entries of fsspec's systems, the best first

T = TypeVar("T")


class RemoteFolder:
    """A folder behind a URL; a call that fails for a reason that may pass is tried again, TRIES times in PATIENCE s."""

    def __init__(self, address: str, option: str) -> None:
        _check_no_credentials(address, option)
        self.address, self.option = address, option
        # A listing that was kept would hide the files of other machines.
        settings = {"use_listings_cache": False, **system_options(address)}
        opened: tuple[Any, str] = self._try("", partial(fsspec.url_to_fs, address, **settings))
        self.system, self.root = opened

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        return self._try(name, partial(self.system.cat_file, self._path(name)))

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        self._write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Folder`."""
        try:
            self._write(name, data, mode="create")
        except (FileExistsError, PreconditionError):
            return self._holds(name, data)
        return True

    def replace(self, name: str, data: bytes, stamp: str) -> bool:
        """See `Folder`."""
        if self.stamp(name) != stamp:
            return False
        self.write(name, data)
        return True

    def stamp(self, name: str) -> str | None:
        """See `Folder`."""
        try:
            return _stamp(self._try(name, partial(self.system.info, self._path(name))))
        except FileNotFoundError:
            return None

    def names(self, prefix: str = "") -> Iterator[StoredFile]:
        """See `Folder`."""
        parent, _, start = prefix.rpartition("/")
        try:
            found = self._try(prefix, partial(self.system.ls, self._path(parent), detail=True))
        except FileNotFoundError:
            return
        for info in sorted(found, key=lambda each: each["name"]):
            name = info["name"].removeprefix(self.root).lstrip("/")
            if info["type"] == "file" and name.rpartition("/")[2].startswith(start):
                yield StoredFile(name, int(info["size"] or 0), _stamp(info))

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            self._try(name, partial(self.system.rm_file, self._path(name)))

    def ranges(self, name: str) -> ByteSource:
        """See `Folder`."""
        return FileRanges(f"{self.address}/{name}", self.option)

    def walk(self) -> list[str]:
        """The names of all files at any depth, sorted; none if there is no such folder."""
        try:
            found: list[str] = self._try("", partial(self.system.find, self.root))
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(self.root).lstrip("/") for path in found)

    def download(self, copies: Mapping[str, Path]) -> None:
        """Copy files, each to a path of this machine; FileNotFoundError if one does not exist."""
        here, there = [self._path(name) for name in copies], [str(path) for path in copies.values()]
        self._try(next(iter(copies), ""), partial(self.system.get, here, there))

    def _write(self, name: str, data: bytes, **condition: str) -> None:
        try:
            self._try(name, partial(self.system.pipe_file, self._path(name), data, **condition))
        except UserError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            remedy = "these credentials may not write there; set others, or name another folder"
            raise UserError(f"{self.option}={self.address}/{name}: {error.__cause__}; {remedy}") from error

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether a file holds `data`, written by a try whose answer was lost."""
        try:
            return self.read(name) == data
        except FileNotFoundError:
            return False

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _try(self, name: str, call: Callable[[], T]) -> T:
        """The result of `call`; FileNotFoundError, FileExistsError and PreconditionError are its answers, too."""
        start = time.monotonic()
        for number in range(TRIES):
            try:
                return call()
            except (FileNotFoundError, FileExistsError) as answer:
                if _code(answer) == "NoSuchBucket":
                    raise self._error(name, answer, "create the bucket, or check the address") from answer
                raise
            except Exception as error:  # each of fsspec's systems has error classes of its own
                if _code(error) == "PreconditionFailed":
                    raise PreconditionError from error
                late = time.monotonic() - start > PATIENCE or number + 1 == TRIES
                if late or _lasts(error):
                    raise self._error(name, error, "check the address and the permissions, and try again") from error
            time.sleep(FIRST_PAUSE * 2**number * random.uniform(0.5, 1.5))
        raise AssertionError

    def _error(self, name: str, error: Exception, remedy: str) -> UserError:
        where = f"{self.address}/{name}" if name else self.address
        return UserError(f"{self.option}={where}: {failure_line(self.address, error, remedy)}")


class PreconditionError(Exception):
    """A conditional write was refused because the file has changed."""


def _check_no_credentials(address: str, option: str) -> None:
    """UserError for a URL with a user, a password or a query, which would be written to config.yaml and to logs."""
    if without_credentials(address) != address or "@" in urlsplit(address).netloc:
        remedy = "set them in the environment (s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), and name the URL alone"
        raise UserError(f"{option}={without_credentials(address)}: a URL with credentials would be recorded; {remedy}")


def _stamp(info: dict[str, Any]) -> str:
    """What differs between two contents, in the description of a file by one of fsspec's systems."""
    value = next((info[key] for key in STAMPS if key in info), None)
    return f"{info.get('size')} {value.timestamp() if isinstance(value, datetime) else value}"


def _code(error: BaseException) -> str | None:
    """The code of S3's answer, which s3fs keeps as the cause."""
    answer = getattr(error.__cause__, "response", None)
    return answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None


def _lasts(error: Exception) -> bool:
    """Whether another try would fail as well."""
    if isinstance(error, LASTING_ERRORS) or "credentials" in str(error):
        return True
    return isinstance(error, OSError) and error.errno in LASTING_NUMBERS
