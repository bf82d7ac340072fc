"""Folders of files: on disk, or behind any address that fsspec knows (s3://bucket/name, memory://name).

A file is written whole or not at all. `create` and `replace` are conditional writes, with which several machines agree
on one writer: atomic on a local disk and on S3 (and services that support its `If-None-Match` and `If-Match`); other
protocols check first and then write.
"""

import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import fsspec

from lightning_inr.errors import UserError
from lightning_inr.paths import HOST, write_bytes
from lightning_inr.ranges import ByteSource, FileRanges, failure_line, is_address, system_options, without_credentials

TRIES = 8  # of a call that fails for a reason that may pass
PATIENCE = 60.0  # seconds after its first try, after which a call is not tried again
FIRST_PAUSE = 0.05  # seconds between the first two tries; doubles, and varies by half
LASTING_ERRORS = (FileNotFoundError, FileExistsError, PermissionError, ImportError, TypeError, ValueError)
LASTING_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOSYS, errno.EINVAL, errno.EPERM)
STAMPS = ("ETag", "etag", "last_modified", "created", "mtime")  # entries of fsspec's systems, the best first

T = TypeVar("T")


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


def open_folder(address: str | os.PathLike[str], option: str) -> Folder:
    """The folder at a path or a URL; UserError naming `option` for a URL with credentials in it."""
    if isinstance(address, str) and is_address(address):
        kind = S3Folder if address.startswith("s3://") else RemoteFolder
        return kind(address.rstrip("/"), option)
    return LocalFolder(Path(address).expanduser(), option)


def file_stamp(address: str | Path, option: str = "bitstream") -> str | None:
    """What differs if the content of a file differs, at a path or a URL; None if it does not exist."""
    folder, name = os.path.split(address)
    return open_folder(folder, option).stamp(name)


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
            return _local_stamp((self.path / name).stat())
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
                    yield StoredFile(f"{parent}/{name}" if parent else name, state.st_size, _local_stamp(state))

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
        except (FileExistsError, _PreconditionError):
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
        """The result of `call`; FileNotFoundError, FileExistsError and _PreconditionError are its answers, too."""
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
                    raise _PreconditionError from error
                late = time.monotonic() - start > PATIENCE or number + 1 == TRIES
                if late or _lasts(error):
                    raise self._error(name, error, "check the address and the permissions, and try again") from error
            time.sleep(FIRST_PAUSE * 2**number * random.uniform(0.5, 1.5))
        raise AssertionError

    def _error(self, name: str, error: Exception, remedy: str) -> UserError:
        where = f"{self.address}/{name}" if name else self.address
        return UserError(f"{self.option}={where}: {failure_line(self.address, error, remedy)}")


class S3Folder(RemoteFolder):
    """A folder of a bucket: with conditional writes, and one call for each answer."""

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        # With more than one connection, s3fs asks for the size first.
        return self._try(name, partial(self.system.cat_file, self._path(name), max_concurrency=1))

    def replace(self, name: str, data: bytes, stamp: str) -> bool:
        """See `Folder`."""
        try:
            self._write(name, data, IfMatch=stamp)
        except FileNotFoundError:
            return False
        except _PreconditionError:
            return self._holds(name, data)
        return True

    def stamp(self, name: str) -> str | None:
        """See `Folder`."""
        bucket, _, key = self._path(name).partition("/")
        try:
            tag: str = self._try(name, partial(self.system.call_s3, "head_object", Bucket=bucket, Key=key))["ETag"]
        except FileNotFoundError:
            return None
        return tag

    def names(self, prefix: str = "") -> Iterator[StoredFile]:
        """See `Folder`; a page of 1,000 names at a time, where s3fs would hold all."""
        bucket, _, key = self.root.partition("/")
        above = f"{key}/" if key else ""
        page: dict[str, Any] = {"NextContinuationToken": None}
        while "NextContinuationToken" in page:
            token = page["NextContinuationToken"]
            following = {"ContinuationToken": token} if token else {}
            asked = {"Bucket": bucket, "Prefix": above + prefix, "Delimiter": "/", **following}
            page = self._try(prefix, partial(self.system.call_s3, "list_objects_v2", **asked))
            for each in page.get("Contents", ()):
                if not each["Key"].endswith("/"):  # such a key marks a folder
                    yield StoredFile(each["Key"].removeprefix(above), each["Size"], each["ETag"])


class _PreconditionError(Exception):
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


def _local_stamp(state: os.stat_result) -> str:
    return f"{state.st_ino} {state.st_size} {state.st_mtime_ns}"


def _code(error: BaseException) -> str | None:
    """The code of S3's answer, which s3fs keeps as the cause."""
    answer = getattr(error.__cause__, "response", None)
    return answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None


def _lasts(error: Exception) -> bool:
    """Whether another try would fail as well."""
    if isinstance(error, LASTING_ERRORS) or "credentials" in str(error):
        return True
    return isinstance(error, OSError) and error.errno in LASTING_NUMBERS
