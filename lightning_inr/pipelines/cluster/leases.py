"""Claims of videos in a folder behind a URL, where several machines work on one collection.

    records/<id>.claim    the worker that fits the video; a conditional write, so that one of several creates it
    records/workers/<id>  a number that the worker raises every BEAT seconds

A worker whose number stays the same for DEAD_AFTER seconds, by the clock of the one that looks, counts as dead, and its
claims are taken over by conditional writes. Clocks of two machines are never compared.
"""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.errors import UserError
from lightning_inr.paths import HOST
from lightning_inr.pipelines.cluster.schedule import Claim
from lightning_inr.progress import ProgressBar
from lightning_inr.storage import Folder

BEAT = 5.0  # seconds between two signs of life
DEAD_AFTER = 30.0  # seconds without one
WORKERS = "records/workers/"


class _Sign(NamedTuple):
    """A worker as it was last looked at."""

    content: bytes
    since: float  # monotonic time of the first look at this content
    looked: float  # monotonic time of the last look
    moved: bool  # whether the content has changed since the first look: it lives


class Leases:
    """The claims of this process on the videos of a folder; `done` has the ids that were finished at its start."""

    def __init__(self, folder: Folder, now: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.now = folder, now
        self.name = f"{HOST}-{secrets.token_hex(8)}"
        self.signs: dict[str, _Sign] = {}
        self.done: set[str] = set()
        self.ended = threading.Event()
        self.beats = 0

    def __enter__(self) -> "Leases":
        self._beat()
        files = {each.name.removesuffix(".linr") for each in self.folder.names() if each.name.endswith(".linr")}
        records = (each.name for each in self.folder.names("records/") if each.name.endswith(".json"))
        self.done = {id for name in records if (id := name[len("records/") : -len(".json")]) in files}
        self.thread = threading.Thread(target=self._keep_beating, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the signs of life, so that what this process still claims is free at once."""
        self.ended.set()
        self.thread.join()
        self.folder.remove(WORKERS + self.name)

    def claim(self, index: int, video: CaptionedVideo) -> Claim:
        """Ask for a video; a claim outlives its fit, and a new one thus means that nobody has finished the video."""
        if video.id in self.done:
            return Claim.DONE
        name, content = f"records/{video.id}.claim", self.name.encode()
        if self.folder.create(name, content):
            return Claim.TAKEN
        stamp = self.folder.stamp(name)  # before the content: a change in between makes `replace` fail
        try:
            holder = self.folder.read(name).decode(errors="replace")
        except FileNotFoundError:  # given back just now
            return Claim.UNKNOWN
        if self._is_done(video):
            return Claim.DONE
        if holder == self.name:
            return Claim.TAKEN
        state = self._look_at(holder)
        if state is not Claim.TAKEN or stamp is None:
            return state
        if not self.folder.replace(name, content, stamp):
            return Claim.UNKNOWN
        return Claim.DONE if self._is_done(video) else Claim.TAKEN

    def release(self, index: int, video: CaptionedVideo, is_done: bool) -> None:
        """Give a video back that failed; the claim of one that is done stays, so that no stale listing frees it."""
        if is_done:
            self.done.add(video.id)
        else:
            self.folder.remove(f"records/{video.id}.claim")

    def alone(self) -> AbstractContextManager[None]:
        """Nothing to wait for: the manifest is written by a conditional write."""
        return nullcontext()

    def _is_done(self, video: CaptionedVideo) -> bool:
        done = self.folder.stamp(f"records/{video.id}.json") is not None
        if done and self.folder.stamp(f"{video.id}.linr") is not None:
            self.done.add(video.id)
            return True
        return False

    def _look_at(self, holder: str) -> Claim:
        """HELD by a worker that lives, TAKEN if it is dead, UNKNOWN while it has not been watched for long enough."""
        now, sign = self.now(), self.signs.get(holder)
        if sign is None or now - sign.looked >= BEAT / 2:
            try:
                content = self.folder.read(WORKERS + holder)
            except FileNotFoundError:
                return Claim.TAKEN
            if sign is None:
                sign = _Sign(content, now, now, moved=False)
            elif sign.content != content:
                sign = _Sign(content, now, now, moved=True)
            else:
                sign = sign._replace(looked=now)
            self.signs[holder] = sign
        if now - sign.since >= DEAD_AFTER:
            return Claim.TAKEN
        return Claim.HELD if sign.moved else Claim.UNKNOWN

    def _beat(self) -> None:
        self.beats += 1
        self.folder.write(WORKERS + self.name, str(self.beats).encode())

    def _keep_beating(self) -> None:
        while not self.ended.wait(BEAT):
            try:
                self._beat()
            except UserError as error:  # the next write of the collection fails, too, or the store is back by then
                ProgressBar.write(str(error))
