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


class TemporalSmoothness(NamedTuple):
    """Smoothness over time of a video's latents (N, D)."""

    step: float  # mean distance of neighbouring frames' latents over the mean distance of all pairs
    correlation: float  # Pearson's, between distance of latents and distance in time, over all pairs


def measure_smoothness(latents: Latents) -> TemporalSmoothness:
    """Measure the smoothness of latents (N, D), N > 2: a small `step` and a high `correlation` mean smooth."""
    distances = np.sqrt(np.maximum(0, _squared_distances(latents)))
    first, second = np.triu_indices(len(latents), k=1)
    pairwise = distances[first, second]
    neighbouring = np.diagonal(distances, offset=1)
    mean = float(pairwise.mean())
    if mean == 0:
        return TemporalSmoothness(0.0, 0.0)
    return TemporalSmoothness(float(neighbouring.mean()) / mean, float(np.corrcoef(pairwise, second - first)[0, 1]))


def flatten_latents(latents: Latents, seed: int = 0) -> Latents:
    """Places (N, 2) of latents (N, D), N > 3, by UMAP (McInnes et al. 2018)."""
    from umap import UMAP  # here, as the import takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UMAP warns that a seed restricts it to one thread
        neighbours = min(NEIGHBOURS, len(latents) - 1)
        start = "spectral" if len(latents) > NEIGHBOURS else "random"
        flat: Latents = UMAP(n_neighbors=neighbours, init=start, random_state=seed).fit_transform(latents)
    return flat


def draw_latents(videos: Mapping[str, Latents], target: Path, seed: int = 0) -> None:
    """Write a PNG with a panel per video: UMAP of its latents, coloured by frame (Fig. 9)."""
    figure, axes = plt.subplots(1, len(videos), figsize=(5 * len(videos), 4.4), squeeze=False, layout="constrained")
    for axis, (name, latents) in zip(axes[0], videos.items(), strict=True):
        flat = flatten_latents(latents, seed)
        points = axis.scatter(flat[:, 0], flat[:, 1], c=np.arange(len(flat)), cmap="viridis", s=14)
        smoothness = measure_smoothness(latents)
        axis.set_title(f"{name}: step {smoothness.step:.2f}, correlation {smoothness.correlation:.2f}", fontsize=10)
        axis.set(xticks=[], yticks=[])
        figure.colorbar(points, ax=axis, label="frame")
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)


def _squared_distances(latents: Latents) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Squared distances of all pairs, (N, N)."""
    points = latents.astype(np.float64)
    norms = (points**2).sum(1)
    return norms[:, None] + norms[None] - 2 * points @ points.T
