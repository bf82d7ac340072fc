"""An HTML report in one file: charts, Bjøntegaard differences, all runs, and missing runs."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_inr.paths import write_text
from lightning_inr.report.curves import METRICS, Difference, best_tradeoffs
from lightning_inr.report.recall import COLUMNS, RecallRow
from lightning_inr.report.runs import MissingRun, Run, name_methods

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left } td.n { text-align: right }
svg { max-width: 100%; height: auto } .missing { color: #a00 }
"""
Rows = Sequence[Sequence[object]]


def write_page(
    target: Path,
    charts: Mapping[str, Path],
    role_chart: Path | None,
    differences: Mapping[str, Sequence[Difference]],
    runs: Sequence[Run],
    missing: Sequence[MissingRun],
) -> None:
    """Write the report to `target`, all in one file.

    `charts` (SVG files) and `differences` are by metric; `spread` is the chart (SVG) of bytes by role, or None.
    """
    parts = [f"<h1>{len(runs)} runs</h1>"]
    if missing:
        parts.append('<h2 class="missing">Missing</h2>' + _table(["run", "reason"], missing))
    for metric, chart in charts.items():
        parts.append(f"<h2>{METRICS[metric]} against bits per pixel</h2>" + _svg(chart))
        if differences[metric]:
            columns = ["video", "anchor", "test", "rate at equal quality, %", "quality at equal rate"]
            parts.append("<h3>Bjøntegaard differences</h3>" + _table(columns, differences[metric]))
    if role_chart is not None:
        parts.append("<h2>Bytes by role</h2>" + _svg(role_chart))
    parts += ["<h2>Best trade-offs of rate and PSNR</h2>", _table(*_tradeoffs(runs))] if len(runs) > 1 else []
    parts += _retrieval(runs)
    parts.append("<h2>Runs</h2>" + _table(*_runs(runs)))
    text = f'<!doctype html><meta charset="utf-8"><title>lightning_inr</title><style>{STYLE}</style>{"".join(parts)}\n'
    write_text(target, text)


def _retrieval(runs: Sequence[Run]) -> list[str]:
    """Retrieval scores of the runs that have them: one table, and each run's recall curves."""
    columns = ["run", "PSNR", "bpp", "protocol", "method", *COLUMNS]
    rows: list[list[object]] = []
    charts: list[str] = []
    for run, name in zip(runs, name_methods(runs), strict=True):
        found = [RecallRow(**row) for row in run.result.get("retrieval", ())]
        rows += [[name, run.result["psnr"], run.result["bpp"], row.protocol, row.method, *row.figures] for row in found]
        if found and (chart := run.folder / "recall.svg").exists():
            charts.append(f"<h3>{html.escape(name)}</h3>{_svg(chart)}")
    return ["<h2>Retrieval</h2>", _table(columns, rows), *charts] if rows else []


def _tradeoffs(runs: Sequence[Run]) -> tuple[list[str], Rows]:
    best = best_tradeoffs(runs)
    method = dict(zip((run.folder for run in runs), name_methods(runs), strict=True))
    rows = [
        [run.result["video"], method[run.folder], run.rate_setting, run.result["bpp"], run.result["psnr"]]
        for run in best
    ]
    return ["video", "method", "rate setting", "bpp", "PSNR"], rows


def _svg(chart: Path) -> str:
    text = chart.read_text()
    return text[text.index("<svg") :]


def _runs(runs: Sequence[Run]) -> tuple[list[str], Rows]:
    figures = ["bpp", "psnr_unquantised", "psnr", "ssim", "ms_ssim", "bytes", "params", "fit_seconds", "decode_fps"]
    interpolated = any("held_out" in run.result for run in runs)
    held_out = ["psnr", "blend_true", "blend_motion", "blend_decoded", "nearest"] if interpolated else []
    columns = ["video", "method", "rate setting", *figures, *(f"held out: {name}" for name in held_out)]
    rows = [
        [run.result["video"], method, run.rate_setting, *(run.result.get(name) for name in figures),
         *(run.result.get("held_out", {}).get(name) for name in held_out)]
        for run, method in zip(runs, name_methods(runs), strict=True)
    ]  # fmt: skip
    return columns, sorted(rows, key=lambda row: (str(row[0]), str(row[1]), row[3] or 0))


def _table(columns: Sequence[str], rows: Rows) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f'<td class="n">{value:.4g}</td>' if abs(value) < 10 else f'<td class="n">{value:,.2f}</td>'
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{html.escape(str(value))}</td>"
