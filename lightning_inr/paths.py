"""Where things lie on disk, and how a file is written so that it is never half there."""

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
LEAST_ROOM = 65536  # bytes; a disk with less is full for a writer that asks for more at once
LONGEST_STEM = 40  # characters of a draft's name that are the target's
FAILED = "failed.txt"  # what a job of a sweep leaves in its folder in place of a result: one line, the reason


def config_dir() -> str:
    """Absolute path of the Hydra tree: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return str(installed if installed.is_dir() else package.parent / "conf")


def existing(path: str | os.PathLike[str], option: str) -> Path:
    """`path` as a Path; UserError naming `option` if nothing is there."""
    found = Path(path).expanduser()
    try:
        if found.exists():
            return found
    except OSError as error:
        raise UserError(f"{option}={path}: {error.strerror}; name a readable path") from error
    raise UserError(f"{option}={path}: no such file or folder; check the path (relative to {Path.cwd()})")


def read_bytes(path: str | os.PathLike[str], option: str) -> bytes:
    """What is in the file; UserError naming `option` if there is none, or it is no file: a pipe would never end."""
    found = existing(path, option)
    if not found.is_file():
        raise UserError(f"{option}={path}: not a file; name one")
    try:
        return found.read_bytes()
    except OSError as error:
        raise UserError(f"{option}={path}: {error.strerror}; name a readable file") from error


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `target` to write to; it takes the target's place only if all went well.

    Works for a file and for a folder. UserError if there is no room or no permission.
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
    except Exception as error:  # torch, safetensors and others have errors of their own for a disk that is full
        if not _is_full(target.parent):
            raise
        raise _cannot_write(named, os.strerror(errno.ENOSPC)) from error
    finally:
        with suppress(OSError):  # what stopped the writing may stop this, too
            _remove(draft)


@contextmanager
def alone_in(folder: Path, option: str) -> Iterator[None]:
    """Hold `folder` while the context lasts; UserError naming `option` if another process holds it.

    The system lets go of it when the process ends, however it ends.
    """
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


def write_bytes(target: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `target` in one step."""
    with writing(target) as draft:
        draft.write_bytes(data)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target` in one step."""
    write_bytes(target, text.encode())


def _cannot_write(target: str | os.PathLike[str], reason: str) -> UserError:
    return UserError(f"cannot write {target}: {reason}; free some space or choose another place")


def _is_full(folder: Path) -> bool:
    system = os.statvfs(folder)
    return system.f_bavail * system.f_frsize < LEAST_ROOM


def _remove_abandoned(target: Path) -> None:
    """Remove drafts of `target` whose process, on this machine, was killed."""
    before, after = (glob.escape(part) for part in _draft_name(target, "\0").split("\0"))
    for draft in target.parent.glob(f"{before}*@{glob.escape(HOST)}{after}"):
        process = draft.name.partition("@")[0].rpartition(".")[2]
        if process.isdecimal() and not _is_running(int(process)):
            _remove(draft)


def _draft_name(target: Path, whose: str) -> str:
    # The ending stays: writers choose the format by it. Names have 255 bytes at most.
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
    """Move the files of `draft` into `target`, which may exist; foreign files there stay."""
    target.mkdir(exist_ok=True)
    for file in draft.iterdir():
        file.replace(target / file.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
