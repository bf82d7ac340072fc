"""Plots whose points show a decoded frame when they are clicked, or chosen by the arrow keys and Enter."""

from html import escape

import plotly.graph_objects as go


def points_html(plot: str) -> str:
    """The place where the frame of a point of the plot with the element id `plot` is shown."""
    note = '<p class="linr-note">Choose a point to see its frame.</p>'
    return f'<linr-points data-plot="{escape(plot)}">{note}</linr-points>'


def point_html(file: str, position: float, caption: str) -> str:
    """The frame of one point, with a caption."""
    return (
        f'<figure><img src="/linr/frame?file={escape(file)}&amp;position={position:g}" alt="decoded frame">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def plain_figure(x_title: str, y_title: str) -> go.Figure:
    """An empty figure without a background of its own, for light and dark pages."""
    grid = {"gridcolor": "rgba(128,128,128,0.3)", "zerolinecolor": "rgba(128,128,128,0.3)"}
    return go.Figure(
        layout={
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": "#808080"},
            "margin": {"l": 50, "r": 20, "t": 30, "b": 45}, "height": 420, "clickmode": "event",
            "hovermode": "closest", "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#808080"},
            "xaxis": {"title": x_title, **grid}, "yaxis": {"title": y_title, **grid},
            "legend": {"orientation": "h", "y": -0.2},
        }
    )  # fmt: skip
