"""Folders of files: on disk, or behind any address that fsspec knows (s3://bucket/name, memory://name).

A file is written whole or not at all. `create` and `replace` are conditional writes, with which several machines agree
on one writer: atomic on a local disk and on S3 (and services that support its `If-None-Match` and `If-Match`); other
protocols check first and then write.
"""

from lightning_inr.storage.folder import Folder, StoredFile
from lightning_inr.storage.local import LocalFolder
from lightning_inr.storage.opening import file_stamp, open_folder
from lightning_inr.storage.remote import RemoteFolder
from lightning_inr.storage.s3 import S3Folder

__all__ = ["Folder", "LocalFolder", "RemoteFolder", "S3Folder", "StoredFile", "file_stamp", "open_folder"]
