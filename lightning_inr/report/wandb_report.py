"""Logs rate-distortion curves, recalls and answers to Weights & Biases as native charts and tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from lightning_inr.report import answers
from lightning_inr.report.curves import MEAN, METRICS, Curve, Difference
from lightning_inr.report.recall import COLUMNS, RecallRow


def log_report(
    wandb_run: Any, each: Mapping[str, Sequence[Curve]], differences: Mapping[str, Sequence[Difference]]
) -> None:
    """Log each metric's curves to the W&B run `board`: a chart per video, a table of points, one of differences."""
    for metric, own in each.items():
        for video in dict.fromkeys(curve.video for curve in own):
            matching = [curve for curve in own if curve.video == video]
            name = "mean" if video == MEAN else video
            wandb_run.log({f"rate_distortion/{metric}/{name}": _chart(matching, metric, video)})
        rows = [[metric, curve.video, curve.method, *point] for curve in own for point in curve.points]
        columns: list[str | int] = ["metric", "video", "method", "bpp", metric, "setting"]
        wandb_run.log({f"points/{metric}": wandb.Table(columns, rows)})
        if differences[metric]:
            table = wandb.Table(list(Difference._fields), [list(each) for each in differences[metric]])
            wandb_run.log({f"bjontegaard/{metric}": table})


def log_recall(wandb_run: Any, rows: Sequence[RecallRow]) -> None:
    """Log a table of retrieval scores and a recall chart per protocol to the W&B run `board`."""
    table = [[row.protocol, row.method, *row.figures] for row in rows]
    wandb_run.log({"retrieval": wandb.Table(["protocol", "method", *COLUMNS], table)})
    for protocol in dict.fromkeys(row.protocol for row in rows):
        matching = [row for row in rows if row.protocol == protocol]
        chart = wandb.plot.line_series(
            xs=[list(row.curve) for row in matching],
            ys=[list(row.curve.values()) for row in matching],
            keys=[row.method for row in matching],
            title=f"{protocol}: recall at k, % of queries",
            xname="k",
        )
        wandb_run.log({f"recall/{protocol}": chart})


def log_answers(wandb_run: Any, rows: Sequence[answers.AnswerRow], samples: Sequence[answers.AnswerSample]) -> None:
    """Log each method's figures to the W&B run `board`, as numbers and as a table, and a table of samples."""
    names = [*answers.COLUMNS, "accuracy %"]
    figures = {row.method: [*row.figures, row.accuracy.get("all", math.nan)] for row in rows}
    for method, values in figures.items():
        defined = {name: value for name, value in zip(names, values, strict=True) if not math.isnan(value)}
        wandb_run.log({f"answers/{method}/{name}": value for name, value in defined.items()})
    wandb_run.log(
        {"answers": wandb.Table(["method", *names], [[method, *values] for method, values in figures.items()])}
    )
    methods = list(dict.fromkeys(method for sample in samples for method in sample.answers))
    lines = [
        [sample.video, wandb.Image(answers.frame_strip(sample)), sample.question, *map(sample.answers.get, methods)]
        for sample in samples
    ]
    wandb_run.log({"samples": wandb.Table(["video", "frames", "question", *methods], lines)})


def _chart(matching: Sequence[Curve], metric: str, video: str) -> Any:
    return wandb.plot.line_series(
        xs=[[point.bpp for point in curve.points] for curve in matching],
        ys=[[point.quality for point in curve.points] for curve in matching],
        keys=[curve.method for curve in matching],
        title=f"{video}: {METRICS[metric]} against bits per pixel",
        xname="bpp",
    )
