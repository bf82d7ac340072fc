"""Every finished fit and reference encoding as one row."""

import ast
import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from macs import macs_per_pixel
from plan import Fit
from runner import reference_folder

TEXTS = ("clip", "model", "size", "rate_weight")  # columns of a row that are no numbers


class Row(NamedTuple):
    """A row of results.csv; the fields are its columns."""

    clip: str
    model: str
    size: str | None
    rate_weight: str | None  # of a reference: its crf or qp
    psnr: float  # dB, mean over frames
    ms_ssim: float | None
    vmaf: float | None
    bpp: float
    bytes: int
    steps: int | None
    fit_seconds: float | None
    decode_fps: float
    macs_per_pixel: float | None
    params: int | None
    current: bool  # False: made with other options than bench.yaml has now


def fit_rows(fits: Iterable[Fit]) -> list[Row]:
    """Rows of the finished fits."""
    rows = []
    for fit in fits:
        if (result := fit.result) is not None:
            figures = _common(result) | {
                "steps": result.get("steps"),
                "fit_seconds": result["fit_seconds"],
                "macs_per_pixel": macs_per_pixel(fit.folder),
                "params": result["params"],
                "current": not fit.is_stale,
            }
            rate = None if fit.rate_weight is None else f"{fit.rate_weight:g}"
            rows.append(Row(clip=fit.clip, model=fit.model, size=fit.size, rate_weight=rate, **figures))
    return rows


def reference_rows(clips: Sequence[str], out: Path) -> list[Row]:
    """Rows of the existing reference encodings."""
    absent = {"steps": None, "fit_seconds": None, "macs_per_pixel": None, "params": None, "current": True}
    rows = []
    for clip in clips:
        for file in sorted(reference_folder(clip, out).glob("*/result.json")):
            result = json.loads(file.read_text())
            rate = file.parent.name.rpartition("-crf")[2]
            figures = _common(result) | absent
            rows.append(Row(clip=clip, model=result["model"], size=None, rate_weight=rate, **figures))
    return rows


def recorded_rows(table: Path) -> list[Row]:
    """Rows of an earlier results.csv, which may be of another machine."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return [Row(**{name: _value(name, text) for name, text in line.items()}) for line in csv.DictReader(file)]


def merged(rows: Sequence[Row], recorded: Sequence[Row]) -> list[Row]:
    """`rows`, and those of `recorded` for what has no row here."""
    return [*{_key(row): row for row in (*recorded, *rows)}.values()]


def _key(row: Row) -> tuple[str | None, ...]:
    return row.clip, row.model, row.size, row.rate_weight


def _value(name: str, text: str) -> Any:
    if not text:
        return None
    return text if name in TEXTS else ast.literal_eval(text)


def _common(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result.get(name) for name in ("psnr", "ms_ssim", "vmaf", "bpp", "bytes", "decode_fps")}
