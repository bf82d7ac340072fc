"""Distribution of a collection's videos over workers, by locks of single bytes of `records/claims`.

A worker locks the byte of the video that it fits; the system releases the lock when its process ends.
"""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.pipelines.cluster.schedule import Claim


class CollectionLock:
    """Divides the videos of a folder among the processes that work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.records = folder, folder / "records"

    def __enter__(self) -> "CollectionLock":
        self.records.mkdir(parents=True, exist_ok=True)
        self.claims: IO[bytes] = (self.records / "claims").open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self.claims.close()

    def claim(self, index: int, video: CaptionedVideo) -> Claim:
        """Lock a video, unless it is finished or another process has locked it."""
        try:
            fcntl.lockf(self.claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 + index)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            return Claim.HELD
        if self._is_done(video):
            self.release(index, video, is_done=True)
            return Claim.DONE
        return Claim.TAKEN

    def release(self, index: int, video: CaptionedVideo, is_done: bool) -> None:
        """Unlock a video."""
        fcntl.lockf(self.claims, fcntl.LOCK_UN, 1, 1 + index)

    def _is_done(self, video: CaptionedVideo) -> bool:
        return (self.records / f"{video.id}.json").exists() and (self.folder / f"{video.id}.linr").exists()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside the context no other process writes the manifest: the last writer has read all records."""
        fcntl.lockf(self.claims, fcntl.LOCK_EX, 1, 0)  # byte 0
        try:
            yield
        finally:
            fcntl.lockf(self.claims, fcntl.LOCK_UN, 1, 0)
