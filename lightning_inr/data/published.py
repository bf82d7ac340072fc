"""Published datasets, which the user downloads to a folder with a known layout."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from lightning_inr.errors import UserError

FOLDER_VARIABLE = "LIGHTNING_INR_DATA"


class PublishedDataset(NamedTuple):
    """A dataset that users download themselves."""

    name: str  # in messages
    folder: str  # default name, in the folder that LIGHTNING_INR_DATA names
    origin: str  # the URL to download it from
    layout: str  # the files that the folder must hold
    option: str = "dataset.root"  # the option that names the folder

    def root(self, given: str | None) -> Path:
        """The dataset's folder: `given`, else in LIGHTNING_INR_DATA; UserError with the source if it is missing."""
        parent = os.environ.get(FOLDER_VARIABLE)
        path = Path(given or (os.path.join(parent, self.folder) if parent else self.folder)).expanduser()
        if not path.is_dir():
            raise UserError(
                f"{self.option}={path}: {self.name} is not there; get it from {self.origin}, and name the folder that "
                f"holds {self.layout} with {self.option}=…, or its parent with {FOLDER_VARIABLE}=…"
            )
        return path

    def find(self, root: Path, *names: str) -> list[Path]:
        """Those of the files `names` that are in `root`, or else below it; UserError if there is none."""
        found = [path for name in names if (path := _find(root, name))]
        if not found:
            wanted = " or ".join(names)
            raise UserError(
                f"{self.option}={root}: no {wanted} here; get it from {self.origin}; it must hold {self.layout}"
            )
        return found

    def check(self, sequence: str, names: Collection[str], root: Path) -> None:
        """UserError that lists the `names` if `sequence` is not one of them."""
        if not names:
            raise UserError(f"{self.option}={root}: no {self.name} here; it must hold {self.layout}")
        if sequence not in names:
            raise UserError(f"dataset.sequence={sequence}: choose one of {_listed(names)} (those in {root})")


def _find(root: Path, name: str) -> Path | None:
    if (root / name).is_file():
        return root / name
    below = sorted(path for path in root.rglob("*") if path.name == name and path.is_file())
    return min(below, key=lambda path: len(path.parts), default=None)


def _listed(names: Collection[str], most: int = 60) -> str:
    first = ", ".join(sorted(names)[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most} more"
