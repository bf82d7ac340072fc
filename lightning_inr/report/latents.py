"""Plots the latents of fitted videos, and measures how smoothly they change over time."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: needs no display

import matplotlib.pyplot as plt
import numpy as np

from lightning_inr.paths import writing

Latents = np.ndarray[tuple[int, int], np.dtype[np.float32]]
NEIGHBOURS = 15  # of UMAP


class Walk(NamedTuple):
    """Smoothness over time of a video's latents (N, D)."""

    step: float  # mean distance of neighbouring frames' latents over the mean distance of all pairs
    correlation: float  # Pearson's, between distance of latents and distance in time, over all pairs


def measure_walk(latents: Latents) -> Walk:
    """Measure the smoothness of latents (N, D), N > 2: a small `step` and a high `correlation` are smooth."""
    distances = np.sqrt(np.maximum(0, _squares(latents)))
    first, second = np.triu_indices(len(latents), k=1)
    apart = distances[first, second]
    steps = np.diagonal(distances, offset=1)
    mean = float(apart.mean())
    if mean == 0:
        return Walk(0.0, 0.0)
    return Walk(float(steps.mean()) / mean, float(np.corrcoef(apart, second - first)[0, 1]))


def draw_latents(videos: Mapping[str, Latents], target: Path, seed: int = 0) -> None:
    """Write a PNG with a panel per video: UMAP (McInnes et al. 2018) of its latents, coloured by frame (Fig. 9)."""
    from umap import UMAP  # here, as the import takes seconds

    figure, axes = plt.subplots(1, len(videos), figsize=(5 * len(videos), 4.4), squeeze=False, layout="constrained")
    for axis, (name, latents) in zip(axes[0], videos.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # UMAP warns that a seed restricts it to one thread
            neighbours = min(NEIGHBOURS, len(latents) - 1)
            start = "spectral" if len(latents) > NEIGHBOURS else "random"
            flat = UMAP(n_neighbors=neighbours, init=start, random_state=seed).fit_transform(latents)
        shown = axis.scatter(flat[:, 0], flat[:, 1], c=np.arange(len(flat)), cmap="viridis", s=14)
        walk = measure_walk(latents)
        axis.set_title(f"{name}: step {walk.step:.2f}, correlation {walk.correlation:.2f}", fontsize=10)
        axis.set(xticks=[], yticks=[])
        figure.colorbar(shown, ax=axis, label="frame")
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)


def _squares(latents: Latents) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Squared distances of all pairs, (N, N)."""
    points = latents.astype(np.float64)
    norms = (points**2).sum(1)
    return norms[:, None] + norms[None] - 2 * points @ points.T
