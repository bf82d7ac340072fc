"""Retrieval scores as a table and as recall curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: needs no display

import matplotlib.pyplot as plt

from lightning_inr.report.charts import save_figure

COLUMNS = ("R@1", "R@5", "R@10", "median rank", "mean rank", "queries", "dropped")


class RecallRow(NamedTuple):
    """Scores of one method in one protocol."""

    protocol: str
    method: str
    recall_1: float  # percent of the queries
    recall_5: float  # percent
    recall_10: float  # percent
    median_rank: float  # from 1
    mean_rank: float  # from 1
    queries: int  # with positives
    dropped: int  # without positives
    curve: Mapping[int, float]  # k -> recall at k in percent

    @property
    def figures(self) -> list[float]:
        """The values of COLUMNS, in their order."""
        return [*self[2:-1]]


def recall_table(rows: Sequence[RecallRow]) -> str:
    """A text table with one line per protocol and method."""
    head = f"{'protocol':<15}{'method':<22}" + "".join(f"{name:>13}" for name in COLUMNS)
    lines = [
        f"{row.protocol:<15}{row.method:<22}" + "".join(f"{_short(value):>13}" for value in row.figures) for row in rows
    ]
    return "\n".join([head, *lines])


def draw_recall(rows: Sequence[RecallRow], stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg: recall at k against k, a panel per protocol, a line per method; their paths."""
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
