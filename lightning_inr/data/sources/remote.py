"""Videos behind addresses that fsspec knows: copied to this machine before they are read, as decoders seek in files.

~/.cache/lightning_inr/videos/<hash of the address>/<hash of its content's stamp>/clip.mp4
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from lightning_inr.errors import UserError
from lightning_inr.paths import cache_dir, writing
from lightning_inr.ranges import is_address
from lightning_inr.storage import RemoteFolder, open_folder


def local_copy(address: str, option: str) -> Path:
    """The file at `address`, copied unless the same content has been; UserError naming `option` if it is missing."""
    above, _, name = address.rpartition("/")
    if name in ("", ".", "..") or not is_address(above):
        raise UserError(f"{option}={address}: no name of a file; give one, as s3://bucket/clip.mp4")
    folder = remote_folder(above, option)
    stamp = folder.stamp(name)
    if stamp is None:
        raise UserError(f"{option}={address}: no such file, or no server answers; check the address")
    target = _copies(address) / sha256(stamp.encode()).hexdigest()[:16] / name
    if not target.exists():
        remove_copy(address)  # of an earlier content
        with writing(target) as draft:
            folder.download({name: draft})
    return target


@contextmanager
def without_copies(locations: Iterable[str]) -> Iterator[None]:
    """Remove the copies of those locations that are addresses at the end: many videos may be larger than the disk."""
    try:
        yield
    finally:
        for location in locations:
            if is_address(location):
                remove_copy(location)


def remove_copy(address: str) -> None:
    """Remove the copy of an address; nothing happens without one."""
    with suppress(FileNotFoundError):
        shutil.rmtree(_copies(address))


def remote_folder(address: str, option: str) -> RemoteFolder:
    """The folder at an address, not a path."""
    folder = open_folder(address, option)
    assert isinstance(folder, RemoteFolder)
    return folder


def _copies(address: str) -> Path:
    return cache_dir() / "videos" / sha256(address.encode()).hexdigest()[:16]
