"""The tab Latents: UMAP of the latents of a file, with the frame of each point."""

from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from lightning_inr.demo.library import Library, RecentlyOpened
from lightning_inr.demo.play import error_html, plain_html
from lightning_inr.demo.points import plain_figure, points_html
from lightning_inr.errors import UserError
from lightning_inr.report.latents import flatten_latents, measure_smoothness

MOST_LATENTS = 1000  # evenly spaced
LEAST_LATENTS = 4
KEPT_PLOTS = 16


class LatentPlots:
    """Plots of the latents of files; each is computed once."""

    def __init__(self, library: Library) -> None:
        self.library, self.plots = library, RecentlyOpened(self._plot, KEPT_PLOTS)

    def _plot(self, key: str) -> tuple[go.Figure, str]:
        video = self.library.videos.get(key)
        numbers = np.arange(0, len(video), -(-len(video) // MOST_LATENTS))
        latents = video.latents[numbers]
        if len(latents) < LEAST_LATENTS:
            raise UserError(f"{len(latents)} latents; a plot needs at least {LEAST_LATENTS}: choose a longer video")
        smoothness = measure_smoothness(latents)
        text = f"{len(latents)} latents, step {smoothness.step:.2f}, correlation {smoothness.correlation:.2f}"
        return latent_figure(key, flatten_latents(latents), numbers, video.fps), text


def latent_figure(key: str, places: Any, numbers: Any, fps: float) -> go.Figure:
    """The places (N, 2) of frames as points, coloured by time and joined in its order."""
    figure = plain_figure("", "")
    figure.add_scatter(
        x=places[:, 0].tolist(), y=places[:, 1].tolist(), mode="lines+markers", showlegend=False,
        line={"color": "rgba(128,128,128,0.5)", "width": 1},
        marker={"color": numbers.tolist(), "colorscale": "Viridis", "size": 8, "colorbar": {"title": "frame"}},
        customdata=[[key, int(number), f"frame {number}, {number / fps:.2f} s"] for number in numbers],
        hovertemplate="%{customdata[2]}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    return figure


def build_latents(file: gr.Dropdown, plots: LatentPlots) -> None:
    """The tab, with a button that computes the plot of the file in view."""
    button = gr.Button("Plot the latents of this file", variant="primary")
    text = plain_html(elem_id="latents-text")
    with gr.Row():
        plot = gr.Plot(elem_id="latents", show_label=False, scale=2)
        plain_html(points_html("latents"))

    def draw(key: str) -> tuple[Any, str]:
        try:
            figure, figures = plots.plots.get(key)
            return figure, f'<p class="linr-note">{figures}</p>'
        except UserError as error:
            return None, error_html(error)

    button.click(draw, [file], [plot, text], concurrency_limit=1, api_visibility="private")
