"""The tab Compare: rate and quality of all runs in a folder, with a decoded frame of each."""

from collections import defaultdict
from html import escape
from typing import NamedTuple

import gradio as gr
import plotly.graph_objects as go

from lightning_inr.demo.library import Library
from lightning_inr.demo.play import plain_html
from lightning_inr.demo.points import plain_figure, point_html, points_html
from lightning_inr.report.curves import METRICS
from lightning_inr.report.runs import Run, find_runs, name_methods


class RunPoint(NamedTuple):
    """A run as a point: its file's key (None: the file is missing), method, and middle frame."""

    run: Run
    key: str | None
    method: str

    @property
    def middle(self) -> int:
        """The number of the frame that is shown."""
        return int(self.run.result.get("frames") or 1) // 2

    @property
    def caption(self) -> str:
        """Method, rate and PSNR."""
        result = self.run.result
        return f"{self.method}, {result['video']}: {result['psnr']:.2f} dB at {result['bpp']:.4f} bpp"


def find_points(library: Library) -> list[RunPoint]:
    """The runs in and below the folder that the page shows."""
    if not library.path.is_dir():
        return []
    runs, _ = find_runs([library.path])
    keys = {shown.path: key for key, shown in library.files.items()}
    return [
        RunPoint(run, keys.get(run.folder / "video.linr"), method)
        for run, method in zip(runs, name_methods(runs), strict=True)
        if all(isinstance(run.result[name], int | float) for name in ("bpp", "psnr"))
    ]


def build_compare(points: list[RunPoint]) -> None:
    """The tab, with a figure for each video and metric."""
    videos = sorted({str(point.run.result["video"]) for point in points})
    metrics = [(name, metric) for metric, name in METRICS.items() if any(metric in each.run.result for each in points)]
    with gr.Row():
        video = gr.Dropdown(videos, value=videos[0], label="Video")
        metric = gr.Radio(metrics, value="psnr", label="Quality")
        chosen = gr.Dropdown(point_choices(points, videos[0]), value=None, label="Point", elem_id="compare-point")
    with gr.Row():
        plot = gr.Plot(rate_figure(points, videos[0], "psnr"), elem_id="compare", show_label=False, scale=2)
        frame = plain_html(points_html("compare"))
    gr.on(
        [video.change, metric.change], lambda name, measure: rate_figure(points, name, measure),
        [video, metric], [plot], api_visibility="private",
    )  # fmt: skip
    video.change(
        lambda name: gr.Dropdown(point_choices(points, name), value=None), [video], [chosen], api_visibility="private"
    )
    chosen.input(lambda number: _frame_html(points[number]), [chosen], [frame], api_visibility="private")


def _frame_html(point: RunPoint) -> str:
    if point.key is None:
        return f'<p class="linr-note">{escape(point.caption)}: no video.linr in its folder</p>'
    return f'<linr-points data-plot="compare">{point_html(point.key, point.middle, point.caption)}</linr-points>'


def point_choices(points: list[RunPoint], video: str) -> list[tuple[str, int]]:
    """The points of one video, for a list: what a click in the figure does, for the keyboard."""
    return [(each.caption, number) for number, each in enumerate(points) if str(each.run.result["video"]) == video]


def rate_figure(points: list[RunPoint], video: str, metric: str) -> go.Figure:
    """Rate and quality of the runs of one video, a line for each method."""
    by_method: dict[str, list[RunPoint]] = defaultdict(list)
    for point in points:
        if str(point.run.result["video"]) == video and isinstance(point.run.result.get(metric), int | float):
            by_method[point.method].append(point)
    figure = plain_figure("bits per pixel", METRICS[metric])
    for method, own in by_method.items():
        own.sort(key=lambda point: float(point.run.result["bpp"]))
        figure.add_scatter(
            x=[each.run.result["bpp"] for each in own], y=[each.run.result[metric] for each in own],
            mode="lines+markers", name=escape(method), marker={"size": 9}, showlegend=True,
            customdata=[None if each.key is None else [each.key, each.middle, each.caption] for each in own],
            hovertemplate="%{x:.4f} bpp, %{y:.4g}<extra></extra>",
        )  # fmt: skip
    return figure
