"""Collected runs as rate-distortion curves, tables and one page."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_inr.errors import UserError
from lightning_inr.paths import existing, write_text
from lightning_inr.report.charts import draw_bytes, draw_curves
from lightning_inr.report.curves import METRICS, curves, differences
from lightning_inr.report.page import write_page
from lightning_inr.report.runs import Run, find_runs, name_methods
from lightning_inr.report.wandb_report import log_report

COLUMNS = (
    "video", "model", "rank", "frames", "height", "width", "params", "bytes", "bpp", "estimated_bpp",
    "psnr_unquantised", "psnr", "psnr_mean_mse", "ssim", "ms_ssim", "epochs", "fit_seconds", "encode_seconds",
    "decode_fps", "device", "seed",
)  # fmt: skip


def run(cfg: DictConfig) -> None:
    """Report on `runs`, a folder or several, into `out`."""
    folders = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs)
    write_report([existing(folder, "runs") for folder in folders], Path(cfg.out or folders[0]), cfg.logger)


def write_report(folders: Sequence[Path], out: Path, logger: DictConfig | None) -> None:
    """Tables, curves and bytes by role as pictures, and report.html, into `out`; and the board, if there is one."""
    runs, missing = find_runs(folders)
    if not runs:
        raise UserError(f"runs={', '.join(map(str, folders))}: no result.json there; name the folder of a sweep")
    each = {metric: curves(runs, metric) for metric in METRICS}
    each = {metric: own for metric, own in each.items() if own}
    between = {metric: differences(own) for metric, own in each.items()}
    charts = {metric: draw_curves(own, metric, out / f"rate_distortion_{metric}")[-1] for metric, own in each.items()}
    bars = _bytes_by_role(runs)
    spread = draw_bytes(bars, out / "bytes")[-1] if bars else None
    _write_csv(out / "runs.csv", *_figures(runs))
    rows = [[metric, *difference] for metric, own in between.items() for difference in own]
    _write_csv(out / "bjontegaard.csv", ["metric", "video", "anchor", "test", "rate_percent", "quality"], rows)
    write_page(out / "report.html", charts, spread, between, runs, missing)
    if logger is not None and "project" in logger:
        board = instantiate(logger, save_dir=str(out), name=logger.name or "report").experiment
        log_report(board, each, between)
        board.finish()
    for absent in missing:
        print(f"missing: {absent.folder}: {absent.reason}")
    print(f"{len(runs)} runs, {len(missing)} missing -> {out / 'report.html'}")


def _bytes_by_role(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """For each file its name in the chart, and bytes by role."""
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
         *(run.result.get("held_out", {}).get(name) for name in held_out), str(run.folder)]
        for run, method in zip(runs, name_methods(runs), strict=True)
    ]  # fmt: skip
    return ["method", "setting", *COLUMNS, *(f"held_out_{name}" for name in held_out), "folder"], rows


def _write_csv(target: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(target, text.getvalue())
