"""Writes results.csv, bjontegaard.csv, choice.csv and a rate-distortion picture per clip, of all finished fits."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: no screen is needed

import matplotlib.pyplot as plt
from compare import FAMILY, METRICS, Comparison, all_curves, compare
from plan import Fit, Plan
from rows import Row

from lightning_inr.paths import write_text, writing

AXES = {"psnr": "PSNR (dB)", "ms_ssim": "MS-SSIM", "vmaf": "VMAF"}
NOMINAL_RATE_WEIGHT = 1e-3  # prices the bits of a model that is trained without a rate


def write_tables(rows: Sequence[Row], plan: Plan, target: Path) -> None:
    """Write the tables and pictures of `rows` to the folder `target`."""
    write_csv(target / "results.csv", Row._fields, rows)
    write_csv(target / "bjontegaard.csv", Comparison._fields, compare(rows, plan))
    for clip in dict.fromkeys(row.clip for row in rows):
        draw([row for row in rows if row.clip == clip], plan, target / f"rate_distortion_{clip}.png")
    print(f"{len(rows)} rows -> {target}/results.csv, bjontegaard.csv, rate_distortion_<clip>.png")


def draw(rows: Sequence[Row], plan: Plan, target: Path) -> None:
    """Draw a panel per metric: fits as points with the hull of each model, references dashed."""
    metrics = [metric for metric in METRICS if any(getattr(row, metric) is not None for row in rows)]
    figure, axes = plt.subplots(1, len(metrics), figsize=(5.5 * len(metrics), 4.6), squeeze=False, layout="constrained")
    for axis, metric in zip(axes.flat, metrics, strict=True):
        for number, (name, curve) in enumerate(all_curves(rows, metric, plan).items()):
            if name == FAMILY:
                continue
            rates, qualities = [point.bpp for point in curve.points], [point.quality for point in curve.points]
            line = "-" if name in plan.models else "--"
            colour = plt.get_cmap("tab20")(number % 20)
            axis.plot(rates, qualities, line, color=colour, label=name, linewidth=2.5 if name == plan.ours else 1.2)
            if name in plan.models:
                own = [row for row in rows if row.model == name and getattr(row, metric) is not None]
                axis.plot([row.bpp for row in own], [getattr(row, metric) for row in own], "o", color=colour, ms=3)
        axis.set(xlabel="bits per pixel", ylabel=AXES[metric], xscale="log", title=rows[0].clip)
        axis.grid(alpha=0.3, which="both")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)


def write_choice(fits: Sequence[Fit], target: Path) -> None:
    """choice.csv: each learning rate's mean cost over the clips that all rates of its model have; the best is printed.

    The cost is what training lowers: mean squared error of values in [0, 1], plus rate weight times bits a pixel.
    """
    costs: dict[str, dict[float, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for fit in fits:
        if (result := fit.result) is not None and fit.learning_rate is not None:
            weight = NOMINAL_RATE_WEIGHT if fit.rate_weight is None else fit.rate_weight
            cost = 10 ** (-result["psnr_mean_mse"] / 10) + weight * result["bpp"]
            costs[fit.model][fit.learning_rate][fit.clip] = cost
    rows: list[list[Any]] = []
    for model, by_rate in costs.items():
        common = set.intersection(*(set(by_clip) for by_clip in by_rate.values()))
        means = {rate: fmean(by_clip[clip] for clip in common) for rate, by_clip in by_rate.items()} if common else {}
        rows += [[model, f"{rate:g}", " ".join(sorted(common)), f"{mean:.6g}"] for rate, mean in means.items()]
        if means:
            print(
                f"{model}: learning_rate {min(means, key=means.__getitem__):g} of {', '.join(f'{r:g}' for r in means)}"
            )
    write_csv(target / "choice.csv", ("model", "learning_rate", "clips", "cost"), rows)


def write_csv(target: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table; floats with six digits, empty where a value is missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
    write_text(target, text.getvalue())
