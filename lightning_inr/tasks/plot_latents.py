"""Plots the latents of `.linr` files and measures their smoothness over time; no frame is decoded."""

import json
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from lightning_inr.codec import read_video
from lightning_inr.errors import UserError
from lightning_inr.paths import existing, write_text
from lightning_inr.ranges import FileRanges
from lightning_inr.report.latents import Latents, draw_latents, measure_smoothness

MOST_LATENTS = 2000  # per video, evenly spaced


def run(cfg: DictConfig) -> None:
    """Write latents.png and latents.json for `bitstreams`, a file or several, into `out`."""
    named = [cfg.bitstreams] if isinstance(cfg.bitstreams, str) else list(cfg.bitstreams)
    paths = [existing(path, "bitstreams") for path in named]
    # A fit names its file video.linr, so its folder's name is used.
    videos = {(path.parent.name if path.stem == "video" else path.stem): read_latents(path) for path in paths}
    figures = {name: measure_smoothness(latents)._asdict() for name, latents in videos.items()}
    out = Path(cfg.out)
    draw_latents(videos, out / "latents.png", cfg.seed)
    write_text(out / "latents.json", json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


@torch.no_grad()
def read_latents(path: Path) -> Latents:
    """The latents (training frames, D) of a file; UserError if it has none, or too few for a plot."""
    model = read_video(FileRanges(path, "bitstreams"))
    frames = model.video.training_frames
    chosen = frames[:: -(-len(frames) // MOST_LATENTS)]
    latents: Latents = model.latent(torch.tensor(chosen)).numpy().astype(np.float32)
    if len(latents) < 4:
        raise UserError(f"bitstreams={path}: {len(latents)} latents; a plot needs at least 4")
    return latents
