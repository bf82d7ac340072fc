"""Report on collected runs: rate-distortion curves, tables and an HTML page."""

import csv
import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_inr.errors import UserError
from lightning_inr.paths import write_text
from lightning_inr.ranges import is_address
from lightning_inr.report.addresses import folder_of_report, folder_of_runs
from lightning_inr.report.charts import draw_bytes, draw_curves
from lightning_inr.report.curves import METRICS, curves, differences
from lightning_inr.report.page import write_page
from lightning_inr.report.runs import MissingRun, Run, find_runs, name_methods
from lightning_inr.report.wandb_report import log_report

COLUMNS = (
    "video", "model", "rank", "frames", "height", "width", "params", "bytes", "bpp", "estimated_bpp",
    "psnr_unquantised", "psnr", "psnr_mean_mse", "ssim", "ms_ssim", "epochs", "fit_seconds", "encode_seconds",
    "decode_fps", "device", "seed",
)  # fmt: skip


def run(cfg: DictConfig) -> None:
    """Report on `runs`, a folder or several, into `out`; each may be an address."""
    places = [cfg.runs] if isinstance(cfg.runs, str) else [str(place) for place in cfg.runs]
    out = str(cfg.out or places[0])
    with ExitStack() as stack:
        folders = [stack.enter_context(folder_of_runs(place)) for place in places]
        addresses = {
            folder: place.rstrip("/") for folder, place in zip(folders, places, strict=True) if is_address(place)
        }
        runs, missing = find_runs(folders, addresses)
        if not runs:
            raise UserError(f"runs={', '.join(places)}: no result.json there; name the folder of a sweep")
        write_report(runs, missing, stack.enter_context(folder_of_report(out)), cfg.logger)
    print(f"{len(runs)} runs, {len(missing)} missing -> {out.rstrip('/')}/report.html")


def write_report(runs: Sequence[Run], missing: Sequence[MissingRun], out: Path, logger: DictConfig | None) -> None:
    """Write tables, charts and report.html to `out`, and log them to W&B if `logger` is its group."""
    each = {metric: curves(runs, metric) for metric in METRICS}
    each = {metric: metric_curves for metric, metric_curves in each.items() if metric_curves}
    between = {metric: differences(metric_curves) for metric, metric_curves in each.items()}
    charts = {
        metric: draw_curves(metric_curves, metric, out / f"rate_distortion_{metric}")[-1]
        for metric, metric_curves in each.items()
    }
    role_bytes = _bytes_by_role(runs)
    role_chart = draw_bytes(role_bytes, out / "bytes")[-1] if role_bytes else None
    _write_csv(out / "runs.csv", *_figures(runs))
    rows = [[metric, *difference] for metric, metric_curves in between.items() for difference in metric_curves]
    _write_csv(out / "bjontegaard.csv", ["metric", "video", "anchor", "test", "rate_percent", "quality"], rows)
    write_page(out / "report.html", charts, role_chart, between, runs, missing)
    if logger is not None and "project" in logger:
        wandb_run = instantiate(logger, save_dir=str(out), name=logger.name or "report").experiment
        log_report(wandb_run, each, between)
        wandb_run.finish()
    for missing_run in missing:
        print(f"missing: {missing_run.place}: {missing_run.reason}")


def _bytes_by_role(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Name of each file in the chart -> role -> bytes."""
    labels = [
        " ".join(filter(None, [run.result["video"], method, run.rate_setting]))
        for run, method in zip(runs, name_methods(runs), strict=True)
    ]
    pairs = zip(labels, runs, strict=True)
    return {label: run.result["role_bytes"] for label, run in pairs if run.result.get("role_bytes")}


def _figures(runs: Sequence[Run]) -> tuple[list[str], list[list[object]]]:
    held_out = sorted({name for run in runs for name in run.result.get("held_out", {})})
    rows = [
        [method, run.rate_setting, *(run.result.get(name) for name in COLUMNS),
         *(run.result.get("held_out", {}).get(name) for name in held_out), run.place]
        for run, method in zip(runs, name_methods(runs), strict=True)
    ]  # fmt: skip
    return ["method", "setting", *COLUMNS, *(f"held_out_{name}" for name in held_out), "folder"], rows


def _write_csv(target: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(target, text.getvalue())
