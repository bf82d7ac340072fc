"""Runs and reports at addresses that fsspec knows: copied here to be read, and copied there when they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_inr.data.sources.remote import remote_folder
from lightning_inr.paths import existing
from lightning_inr.ranges import is_address
from lightning_inr.report.runs import READ_FILES
from lightning_inr.storage import open_folder


@contextmanager
def folder_of_runs(place: str) -> Iterator[Path]:
    """A folder of runs, or a copy of what a report reads of one behind an address; UserError if it does not exist."""
    if not is_address(place):
        yield existing(place, "runs")
        return
    source = remote_folder(place.rstrip("/"), "runs")
    names = [name for name in source.walk() if Path(name).name in READ_FILES and ".." not in Path(name).parts]
    with TemporaryDirectory() as scratch:
        if names:
            source.download({name: Path(scratch) / name for name in names})
        yield Path(scratch)


@contextmanager
def folder_of_report(place: str) -> Iterator[Path]:
    """A folder to write to, whose files are copied at the end if `place` is an address."""
    if not is_address(place):
        yield Path(place)
        return
    target = open_folder(place, "out")
    with TemporaryDirectory() as scratch:
        yield Path(scratch)
        for file in sorted(Path(scratch).rglob("*")):
            if file.is_file():
                target.write(file.relative_to(scratch).as_posix(), file.read_bytes())
