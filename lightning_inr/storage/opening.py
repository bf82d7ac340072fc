"""The folder at a path or a URL."""

import os
from pathlib import Path

from lightning_inr.ranges import is_address
from lightning_inr.storage.folder import Folder
from lightning_inr.storage.local import LocalFolder
from lightning_inr.storage.remote import RemoteFolder
from lightning_inr.storage.s3 import S3Folder


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
