"""A folder of an S3 bucket."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from lightning_inr.storage.folder import StoredFile
from lightning_inr.storage.remote import PreconditionError, RemoteFolder


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
        except PreconditionError:
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
