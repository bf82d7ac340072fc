"""The files that the page may show: each has a key, and nothing else can be named by a request."""

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from lightning_inr.codec.summary import summarize_file
from lightning_inr.data.sources.file import open_video
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.paths import existing
from lightning_inr.ranges import FileRanges
from lightning_inr.retrieval.collection import MANIFEST, Record, open_original, read_manifest
from lightning_inr.video import Video

MOST_FILES = 10_000  # of a folder without a manifest
OPEN_AT_ONCE = 8  # decoded files, and source videos, that stay in memory
RENDERED_AT_ONCE = 2  # requests that decode at the same time
Opened = TypeVar("Opened")


class ShownFile(NamedTuple):
    """A `.linr` file that the page may show."""

    name: str  # foreign text: escaped where it is shown
    path: Path
    record: Record | None = None  # of a collection


class RecentlyOpened(Generic[Opened]):
    """Keeps the last `most` results of `open_one`, by key.

    One thread opens at a time, and others that need what is kept do not wait for it.
    """

    def __init__(self, open_one: Callable[[str], Opened], most: int = OPEN_AT_ONCE) -> None:
        self.open_one, self.most = open_one, most
        self.kept: OrderedDict[str, Opened] = OrderedDict()
        self._opening, self._lock = threading.Lock(), threading.Lock()

    def get(self, key: str) -> Opened:
        """The result for `key`, opened if it is not kept."""
        with suppress(KeyError):
            return self._find(key)
        with self._opening:
            with suppress(KeyError):  # another thread may have opened it meanwhile
                return self._find(key)
            opened = self.open_one(key)
            with self._lock:
                self.kept[key] = opened
                while len(self.kept) > self.most:
                    self.kept.popitem(last=False)
            return opened

    def _find(self, key: str) -> Opened:
        with self._lock:
            self.kept.move_to_end(key)
            return self.kept[key]


class Library:
    """The files of `path`: one `.linr` file, a collection, or a folder with `.linr` files in and below it.

    `source` is the video that the one file was made from, or a folder: source videos of a collection are shown only if
    they are in it, or in the collection's own folder. UserError if `path` holds no file, or is a damaged one.
    """

    def __init__(self, path: Path, source: Path | None = None, device: str = "auto") -> None:
        self.path = existing(path, "path")
        self.source = None if source is None else existing(source, "source").resolve()
        self.is_collection = (self.path / MANIFEST).exists()
        found = self._find()
        if not found:
            raise UserError(f"path={path}: no .linr file there; name a .linr file or a folder that holds some")
        self.files: dict[str, ShownFile] = {f"f{number}": shown for number, shown in enumerate(found)}
        self.videos = RecentlyOpened(lambda key: Video(self.get(key).path, device))
        self.originals = RecentlyOpened(self._open_original)
        self._originals_lock = threading.Lock()  # a source is read by one thread at a time
        self._rendering = threading.BoundedSemaphore(RENDERED_AT_ONCE)
        self._writing = threading.Lock()

    def get(self, key: str) -> ShownFile:
        """The file of this key; UserError if there is none."""
        try:
            return self.files[key]
        except KeyError as error:
            raise UserError(f"file={key[:40]}: this page has no such file; choose one from the list") from error

    def add(self, name: str, path: Path) -> str:
        """Add a file, and return its key, which cannot be guessed."""
        key = f"u{secrets.token_hex(16)}"
        self.files[key] = ShownFile(name, path)
        return key

    def remove(self, key: str) -> None:
        """Forget a file, and delete it."""
        self.files.pop(key).path.unlink(missing_ok=True)

    def has_original(self, key: str) -> bool:
        """Whether the source video of this file can be shown."""
        with suppress(UserError):
            return self.originals.get(key) is not None
        return False

    @contextmanager
    def rendering(self) -> Iterator[None]:
        """Wait until fewer than RENDERED_AT_ONCE requests decode."""
        with self._rendering:
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write a whole video: UserError while another is written, as that may take minutes."""
        if not self._writing.acquire(blocking=False):
            raise UserError("another mp4 is being written; try again when it is done")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def original(self, key: str) -> Iterator[VideoSource]:
        """The source video of this file, for this thread alone; UserError if there is none."""
        source = self.originals.get(key)
        if source is None:
            raise UserError(f"{self.get(key).name}: its source video is unknown; name it when the page is started")
        with self._originals_lock:
            yield source

    def _find(self) -> list[ShownFile]:
        if self.path.is_file():
            summarize_file(FileRanges(self.path, "path"))  # in a folder, a damaged file is an error when it is chosen
            return [ShownFile(self.path.name, self.path)]
        if self.is_collection:
            records = read_manifest(self.path)
            return [ShownFile(each.id, self.path / each.path, each) for each in records if self._is_inside(each.path)]
        paths = sorted(path for path in self.path.rglob("*.linr") if self._is_inside(path.relative_to(self.path)))
        return [ShownFile(str(path.relative_to(self.path)), path) for path in paths[:MOST_FILES] if path.is_file()]

    def _is_inside(self, name: str | Path) -> bool:
        """Whether a file of the folder is in it, and no link to a file elsewhere."""
        return (self.path / name).resolve().is_relative_to(self.path.resolve())

    def _open_original(self, key: str) -> VideoSource | None:
        record = self.get(key).record
        if record is None:
            return self._given_source(key)
        with suppress(ValueError, TypeError, KeyError, OSError, RuntimeError):  # the manifest is foreign
            path = Path(json.loads(record.source)["path"]).expanduser().resolve()
            allowed = [self.path.resolve(), *([] if self.source is None else [self.source])]
            if any(path.is_relative_to(folder) for folder in allowed):
                return open_original(record)
        return None

    def _given_source(self, key: str) -> VideoSource | None:
        if self.source is None or key != "f0" or not self.path.is_file():
            return None
        _, height, width, _ = self.videos.get(key).shape
        return open_video(str(self.source), height=height, width=width)
