"""Input paths, and atomic writing of files and folders."""

import errno
import fcntl
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_inr.errors import UserError

HOST = socket.gethostname()
LEAST_ROOM = 65536  # bytes; a disk with less free space counts as full, since writers request larger blocks
LONGEST_STEM = 40  # characters of the target's stem in the name of its draft
FAILED = "failed.txt"  # a failed job of a sweep writes its reason, one line, to this file of its folder


def config_dir() -> str:
    """Absolute path of the Hydra configuration: inside the installed package, else next to it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return str(installed if installed.is_dir() else package.parent / "conf")


def cache_dir() -> Path:
    """The user's cache folder of this package: under $XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_inr"


def existing(path: str | os.PathLike[str], option: str) -> Path:
    """`path` as a Path; UserError naming `option` if it does not exist."""
    found = Path(path).expanduser()
    try:
        if found.exists():
            return found
    except OSError as error:
        raise UserError(f"{option}={path}: {error.strerror}; name a readable path") from error
    raise UserError(f"{option}={path}: no such file or folder; check the path (relative to {Path.cwd()})")


def read_bytes(path: str | os.PathLike[str], option: str) -> bytes:
    """Content of a file; UserError naming `option` if it is missing or no regular file (a pipe might never end)."""
    found = existing(path, option)
    if not found.is_file():
        raise UserError(f"{option}={path}: not a file; name one")
    try:
        return found.read_bytes()
    except OSError as error:
        raise UserError(f"{option}={path}: {error.strerror}; name a readable file") from error


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a draft next to `target`; it replaces `target` only if the block raises no error.

    Works for a file and for a folder. UserError if the disk is full or permission is missing.
    """
    named, target = target, Path(target).expanduser().absolute()
    if not target.name:
        raise UserError(f"cannot write {target}: name a file or a folder in it")
    draft = target.with_name(_draft_name(target, f"{os.getpid()}@{HOST}"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        yield draft
        if draft.is_dir():
            _replace_folder(draft, target)
        else:
            draft.replace(target)
    except OSError as error:
        raise _cannot_write(named, error.strerror or str(error)) from error
    except UserError:
        raise
    except Exception as error:  # torch, safetensors and others raise errors of their own for a full disk
        if not _is_full(target.parent):
            raise
        raise _cannot_write(named, os.strerror(errno.ENOSPC)) from error
    finally:
        with suppress(OSError):  # the cause of a failed write may also prevent the removal
            _remove(draft)


@contextmanager
def alone_in(folder: Path, option: str) -> Iterator[None]:
    """Lock `folder` inside the context; UserError naming `option` if another process holds the lock.

    The operating system releases the lock when the process ends, for any reason. A folder that is made here and stays
    empty is removed.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another place") from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{option}={folder}: another process works there; wait or choose another") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(held)
        if made:
            with suppress(OSError):  # it has content
                folder.rmdir()


def write_bytes(target: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with writing(target) as draft:
        draft.write_bytes(data)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target` atomically, in UTF-8."""
    write_bytes(target, text.encode())


def _cannot_write(target: str | os.PathLike[str], reason: str) -> UserError:
    return UserError(f"cannot write {target}: {reason}; free some space or choose another place")


def _is_full(folder: Path) -> bool:
    system = os.statvfs(folder)
    return system.f_bavail * system.f_frsize < LEAST_ROOM


def _remove_abandoned(target: Path) -> None:
    """Remove drafts of `target` from processes of this machine that no longer run."""
    before, after = (glob.escape(part) for part in _draft_name(target, "\0").split("\0"))
    for draft in target.parent.glob(f"{before}*@{glob.escape(HOST)}{after}"):
        process = draft.name.partition("@")[0].rpartition(".")[2]
        if process.isdecimal() and not _is_running(int(process)):
            _remove(draft)


def _draft_name(target: Path, whose: str) -> str:
    # The suffix is kept because writers choose the format by it. File names have at most 255 bytes.
    return f".{target.stem[:LONGEST_STEM]}.{whose}{target.suffix}"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _replace_folder(draft: Path, target: Path) -> None:
    """Move the files of `draft` into `target`, which may exist; other files there are kept."""
    target.mkdir(exist_ok=True)
    for file in draft.iterdir():
        file.replace(target / file.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
