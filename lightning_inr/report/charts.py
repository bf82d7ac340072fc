"""Rate-distortion curves as pictures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot: no screen is needed

import matplotlib.pyplot as plt

from lightning_inr.paths import writing
from lightning_inr.report.curves import MEAN, METRICS, Curve

MOST_PANELS = 12  # more videos than these are in the table only
MARKERS = "os^Dv<>Pp*X"


def draw_curves(each: Sequence[Curve], metric: str, stem: Path) -> list[Path]:
    """The mean first, then one panel a video, as `stem`.png and `stem`.svg; the paths written."""
    videos = list(dict.fromkeys(curve.video for curve in sorted(each, key=lambda c: (c.video != MEAN, c.video))))
    shown = videos[:MOST_PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.2 * columns, 3.9 * rows + 0.4), squeeze=False, layout="constrained"
    )
    methods = list(dict.fromkeys(curve.method for curve in each))
    for axis, video in zip(axes.flat, shown, strict=False):
        for curve in each:
            if curve.video == video:
                style = methods.index(curve.method)
                rates, qualities = [point.bpp for point in curve.points], [point.quality for point in curve.points]
                look = {"color": f"C{style % 10}", "marker": MARKERS[style % len(MARKERS)], "markersize": 4}
                axis.plot(rates, qualities, label=curve.method, **look)
        axis.set(xlabel="bits per pixel", ylabel=METRICS[metric], title=video)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    lines = {str(line.get_label()): line for axis in axes.flat for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(4, len(lines)), fontsize=8)
    targets = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    for target in targets:
        with writing(target) as draft:
            figure.savefig(draft, dpi=110)
    plt.close(figure)
    return targets
