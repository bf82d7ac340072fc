"""Finished runs on disk, and runs without a result."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_inr.paths import FAILED

RATE_OPTIONS = (
    "rank",
    "crf",
    "rate_weight",
    "bpp",
    "params",
    "codec.bits",
)  # select a point on a rate-distortion curve
IGNORED_OPTIONS = (
    "task", "experiment", "run_dir", "device", "gpus", "logger", "model", "dataset", "keep_checkpoints", "progress",
    "progress_bar", "threads", "feature_cache", "vmaf",
)  # fmt: skip
REQUIRED_KEYS = ("model", "video", "bpp", "psnr")  # keys that a result needs for tables and curves
READ_FILES = ("result.json", "config.yaml", FAILED, "recall.svg")  # of a run
VIDEO_OPTIONS = ("dataset.sequence", "dataset.path", "dataset.root")


class Run(NamedTuple):
    """A finished run: its folder and its result.json."""

    folder: Path
    result: dict[str, Any]
    place: str  # of the folder, for readers: a path, or the address of which it is a copy

    @property
    def settings(self) -> dict[str, str]:
        """Options set on its command line, by dotted name; without IGNORED_OPTIONS and VIDEO_OPTIONS."""
        pairs = (text.lstrip("+").split("=", 1) for text in self.result.get("overrides", []))
        return {name: value for name, value in pairs if name not in (*IGNORED_OPTIONS, *VIDEO_OPTIONS)}

    @property
    def rate_setting(self) -> str:
        """Its settings among RATE_OPTIONS, as text; runs of one point of the mean curve share them."""
        return _join({name: value for name, value in self.settings.items() if name.startswith(RATE_OPTIONS)})


class MissingRun(NamedTuple):
    """A run that was started and has no valid result."""

    place: str
    reason: str


def find_runs(
    folders: Iterable[Path], addresses: Mapping[Path, str] | None = None
) -> tuple[list[Run], list[MissingRun]]:
    """Collect finished and missing runs in and below `folders`, sorted by path.

    `addresses`: of folders that are copies.
    """
    runs: list[Run] = []
    missing: list[MissingRun] = []
    places = {
        file.parent: _place(file.parent, root, (addresses or {}).get(root))
        for root in folders
        for file in root.rglob("*")
        if _belongs_to_run(file)
    }
    for folder, place in sorted(places.items()):
        result, failed = folder / "result.json", folder / FAILED
        if result.exists():
            try:
                values = json.loads(result.read_text())
                absent = [name for name in REQUIRED_KEYS if name not in values]
            except (ValueError, TypeError, OSError) as error:
                absent, values = [str(error)], {}
            if absent:
                missing.append(MissingRun(place, f"result.json is damaged or of another task: {absent[0]}"))
            else:
                runs.append(Run(folder, values, place))
        else:
            missing.append(MissingRun(place, failed.read_text().strip() if failed.exists() else "not finished"))
    return runs, missing


def name_methods(runs: Sequence[Run]) -> list[str]:
    """For each run its model and the settings in which the runs differ, without RATE_OPTIONS."""
    names = sorted({name for run in runs for name in run.settings if not name.startswith(RATE_OPTIONS)})
    varying = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    return [
        _join({"": run.result["model"]} | {name: run.settings[name] for name in varying if name in run.settings})
        for run in runs
    ]


def _place(folder: Path, root: Path, address: str | None) -> str:
    return str(folder) if address is None else "/".join([address, *folder.relative_to(root).parts])


def _belongs_to_run(file: Path) -> bool:
    return file.name in ("result.json", "config.yaml", FAILED)


def _join(settings: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" if name else value for name, value in settings.items())
