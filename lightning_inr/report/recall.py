"""Recall of retrieval as tables and curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot: no screen is needed

import matplotlib.pyplot as plt

from lightning_inr.report.charts import save_figure

COLUMNS = ("R@1", "R@5", "R@10", "median rank", "mean rank", "queries", "dropped")


class Row(NamedTuple):
    """One method in one protocol."""

    protocol: str
    method: str
    recall_1: float  # percent, as the others
    recall_5: float
    recall_10: float
    median_rank: float
    mean_rank: float
    queries: int
    dropped: int
    curve: Mapping[int, float]  # k -> recall at k

    @property
    def figures(self) -> list[float]:
        """What COLUMNS name."""
        return [*self[2:-1]]


def recall_table(rows: Sequence[Row]) -> str:
    """Every protocol's methods, one a line, as text."""
    head = f"{'protocol':<15}{'method':<22}" + "".join(f"{name:>13}" for name in COLUMNS)
    lines = [
        f"{row.protocol:<15}{row.method:<22}" + "".join(f"{_short(value):>13}" for value in row.figures) for row in rows
    ]
    return "\n".join([head, *lines])


def draw_recall(rows: Sequence[Row], stem: Path) -> list[Path]:
    """A panel a protocol, recall at k against k, a line a method, as `stem`.png and `stem`.svg; the paths written."""
    protocols = list(dict.fromkeys(row.protocol for row in rows))
    figure, axes = plt.subplots(
        1, len(protocols), figsize=(4.2 * len(protocols), 3.8), squeeze=False, sharey=True, layout="constrained"
    )
    methods = list(dict.fromkeys(row.method for row in rows))
    for axis, protocol in zip(axes[0], protocols, strict=True):
        for row in rows:
            if row.protocol == protocol:
                axis.plot(list(row.curve), list(row.curve.values()), marker="o", markersize=4, label=row.method,
                          color=f"C{methods.index(row.method)}")  # fmt: skip
        ticks = list(rows[0].curve)
        axis.set(xlabel="k", xscale="log", ylim=(0, 101), title=protocol)
        axis.set_xticks(ticks, [str(k) for k in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("recall at k, % of queries")
    lines = {str(line.get_label()): line for line in axes[0, 0].get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(4, len(lines)), fontsize=8)
    return save_figure(figure, stem)


def _short(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.1f}"
