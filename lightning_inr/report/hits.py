"""Images of the hits of retrieval queries."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: needs no display

import matplotlib.pyplot as plt
from torch import Tensor

from lightning_inr.paths import writing

CORRECT, WRONG = "#1a9641", "#d7191c"  # border colours: green, red


class HitImage(NamedTuple):
    """A frame (3, H, W) uint8, its title, and whether it is correct: green or red border; None: no border."""

    title: str
    frame: Tensor
    correct: bool | None = None


def draw_hits(query: str, hits: Sequence[HitImage], target: Path) -> None:
    """Write a PNG of one query and its hits, best first."""
    draw_neighbours({query: hits}, target)


def draw_neighbours(found: Mapping[str, Sequence[HitImage]], target: Path) -> None:
    """Write a PNG with a row per query: its text, and its hits with borders by `correct` (Latent-INR, Fig. 7)."""
    columns = max((len(hits) for hits in found.values()), default=0) or 1
    figure, axes = plt.subplots(
        len(found), columns + 1, figsize=(2.0 * (columns + 1), 2.4 * len(found)), squeeze=False, layout="constrained"
    )
    for row, (query, hits) in zip(axes, found.items(), strict=True):
        for axis in row:
            axis.set(xticks=[], yticks=[], frame_on=False)
        row[0].text(0.5, 0.5, textwrap.fill(query, 18), ha="center", va="center", fontsize=9)
        for axis, hit in zip(row[1:], hits, strict=False):
            axis.imshow(hit.frame.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(hit.title, fontsize=8)
            if hit.correct is not None:
                axis.set_frame_on(True)
                for spine in axis.spines.values():
                    spine.set(color=CORRECT if hit.correct else WRONG, linewidth=4)
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)
