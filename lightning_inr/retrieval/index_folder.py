"""The folder on disk where the index of a collection is kept, and its copy in the bucket of the collection."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from lightning_inr.errors import UserError
from lightning_inr.paths import write_text, writing
from lightning_inr.ranges import is_address
from lightning_inr.storage import Folder, open_folder

INDEX_FOLDER = "index"  # in the collection's folder, with one folder per kind; rebuilt when the files change
CACHE = Path("~/.cache/lightning_inr/index")  # indexes of collections in buckets and in folders that are read-only
COPIED = "copied.json"  # name -> stamp in the bucket, of the files that were read from it or written to it
DERIVED = "merged-"  # files that are made of others in little time are not copied
BLOCK = 2**24  # bytes that are read from a bucket at once


@contextmanager
def index_folder(folder: str | Path, kind: str) -> Iterator[Path]:
    """Yield the folder on disk of an index; for a bucket it is fetched before and, where it changed, written after."""
    if not is_address(folder):
        yield Path(folder) / INDEX_FOLDER / kind if os.access(folder, os.W_OK) else cached(folder, kind)
        return
    local = cached(folder, kind)
    remote = open_folder(folder, "collection")
    copied = _fetch(remote, f"{INDEX_FOLDER}/{kind}/", local)
    yield local
    try:
        _publish(remote, f"{INDEX_FOLDER}/{kind}/", local, copied)
    except UserError as error:
        warnings.warn(f"the index is kept in {local} only: {error}", stacklevel=3)


def cached(folder: str | Path, kind: str) -> Path:
    """The folder for the index of a collection whose own folder cannot be written, or is not on this disk."""
    name = str(folder).rstrip("/") if is_address(folder) else str(Path(folder).absolute())
    return CACHE.expanduser() / sha256(name.encode()).hexdigest()[:16] / kind


def is_writable(folder: str | Path) -> bool:
    """Whether a file can be written to a folder or a bucket, found out by writing one."""
    store = open_folder(folder, "collection")
    try:
        store.write(f"{INDEX_FOLDER}/writable", b"")
        store.remove(f"{INDEX_FOLDER}/writable")
    except UserError:
        return False
    return True


def _fetch(remote: Folder, prefix: str, local: Path) -> dict[str, str]:
    """Read the files that are new in the bucket since the last call; name -> stamp of all that were ever copied."""
    try:
        copied: dict[str, str] = json.loads((local / COPIED).read_text())
    except (OSError, ValueError):
        copied = {}
    entries = [entry for entry in remote.names(prefix) if copied.get(entry.name.removeprefix(prefix)) != entry.stamp]
    for entry in entries:
        name = entry.name.removeprefix(prefix)
        source = remote.ranges(entry.name)
        with writing(local / name) as draft, draft.open("wb") as file:
            for start in range(0, len(source), BLOCK):
                file.write(source[start : start + BLOCK])
        copied[name] = entry.stamp
    if entries:
        _remember(local, copied)
    return copied


def _publish(remote: Folder, prefix: str, local: Path, copied: dict[str, str]) -> None:
    """Write files to the bucket that are not there as they are here, descriptions last, and remove what is not here."""
    present = {path.name: path for path in local.iterdir() if _is_copied(path)}
    sizes = {entry.name.removeprefix(prefix): entry.size for entry in remote.names(prefix)}
    changed = [name for name, path in present.items() if name not in copied or _changed_since(path, local / COPIED)]
    for name in sorted(changed, key=lambda name: (name.endswith(".json"), name)):
        remote.write(prefix + name, present[name].read_bytes())
        copied[name] = str(remote.stamp(prefix + name))
    gone = [name for name in sizes if name in copied and name not in present]
    for name in gone:
        remote.remove(prefix + name)
        del copied[name]
    if changed or gone:
        _remember(local, copied)


def _remember(local: Path, copied: dict[str, str]) -> None:
    write_text(local / COPIED, json.dumps(copied))


def _is_copied(path: Path) -> bool:
    return path.is_file() and path.name != COPIED and not path.name.startswith((".", DERIVED))


def _changed_since(path: Path, record: Path) -> bool:
    return path.stat().st_mtime_ns > record.stat().st_mtime_ns
