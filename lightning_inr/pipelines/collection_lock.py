"""Distribution of a collection's videos over workers, by locks of single bytes of `records/claims`.

A worker locks the byte of the video that it fits; the system releases the lock when its process ends.
"""

import errno
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.retrieval.collection import Record, write_manifest


class CollectionLock:
    """Divides the videos of a folder among its workers, and writes the common manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.records = folder, folder / "records"

    def __enter__(self) -> "CollectionLock":
        self.records.mkdir(parents=True, exist_ok=True)
        self.claims: IO[bytes] = (self.records / "claims").open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self.claims.close()

    @contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        """Whether this process holds the lock of video `index` inside the context."""
        try:
            fcntl.lockf(self.claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 + index)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self.claims, fcntl.LOCK_UN, 1, 1 + index)

    def record(self, video: CaptionedVideo) -> Path:
        """The path of the record of `video`, which may not exist yet."""
        return self.records / f"{video.id}.json"

    def done(self, video: CaptionedVideo) -> bool:
        """Whether the file and the record of `video` exist."""
        return self.record(video).exists() and (self.folder / f"{video.id}.linr").exists()

    def write_manifest(self) -> list[Record]:
        """Write the manifest from the records of all workers, and return the records."""
        fcntl.lockf(self.claims, fcntl.LOCK_EX, 1, 0)  # byte 0: the last writer has read all records
        try:
            rows = [json.loads(path.read_text()) for path in sorted(self.records.glob("*.json"))]
            records = [Record.read(row) for row in rows]
            if records:
                write_manifest(self.folder, records)
        finally:
            fcntl.lockf(self.claims, fcntl.LOCK_UN, 1, 0)
        return records
