"""Charts of rate-distortion curves, and of the bytes of each role in a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: needs no display

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lightning_inr.paths import writing
from lightning_inr.report.curves import MEAN, METRICS, Curve

MOST_PANELS = 12  # panels of a chart; further videos are in the table only
MOST_BARS = 40  # files in the chart of bytes
MARKERS = "os^Dv<>Pp*X"


def draw_curves(curves: Sequence[Curve], metric: str, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg with a panel of the mean and one panel per video; returns their paths."""
    videos = list(dict.fromkeys(curve.video for curve in sorted(curves, key=lambda c: (c.video != MEAN, c.video))))
    drawn = videos[:MOST_PANELS]
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.2 * columns, 3.9 * rows + 0.4), squeeze=False, layout="constrained"
    )
    methods = list(dict.fromkeys(curve.method for curve in curves))
    for axis, video in zip(axes.flat, drawn, strict=False):
        for curve in curves:
            if curve.video == video:
                style = methods.index(curve.method)
                rates, qualities = [point.bpp for point in curve.points], [point.quality for point in curve.points]
                style_options = {"color": f"C{style % 10}", "marker": MARKERS[style % len(MARKERS)], "markersize": 4}
                axis.plot(rates, qualities, label=curve.method, **style_options)
        axis.set(xlabel="bits per pixel", ylabel=METRICS[metric], title=video)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    lines = {str(line.get_label()): line for axis in axes.flat for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(4, len(lines)), fontsize=8)
    return save_figure(figure, stem)


def draw_bytes(files: Mapping[str, Mapping[str, int]], stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg with a bar per file, divided by role; returns their paths.

    `files`: name -> role -> bytes.
    """
    drawn = dict(list(files.items())[:MOST_BARS])
    roles = list(dict.fromkeys(role for parts in drawn.values() for role in parts))
    figure, axis = plt.subplots(figsize=(9, 0.3 * len(drawn) + 1.4), layout="constrained")
    left = [0.0] * len(drawn)
    for number, role in enumerate(roles):
        share = [100 * parts.get(role, 0) / sum(parts.values()) for parts in drawn.values()]
        axis.barh(list(drawn), share, left=left, label=role, color=f"C{number}")
        left = [start + width for start, width in zip(left, share, strict=True)]
    axis.invert_yaxis()
    axis.set(xlabel="% of the coded bytes", xlim=(0, 100))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.6 / (0.3 * len(drawn))), ncols=len(roles), fontsize=8)
    return save_figure(figure, stem)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `figure` as `stem`.png and `stem`.svg and close it; returns their paths."""
    targets = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    for target in targets:
        with writing(target) as draft:
            figure.savefig(draft, dpi=110)
    plt.close(figure)
    return targets
