"""The latents of `.linr` files as a picture and two numbers each; no frame is decoded."""

import json
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from lightning_inr.codec import decode
from lightning_inr.errors import UserError
from lightning_inr.paths import existing, read_bytes, write_text
from lightning_inr.report.latents import Latents, draw_latents, measure_walk

MOST = 2000  # frames of a video that are looked at, evenly spaced


def run(cfg: DictConfig) -> None:
    """Write latents.png and latents.json for `bitstreams`, a file or several, into `out`."""
    named = [cfg.bitstreams] if isinstance(cfg.bitstreams, str) else list(cfg.bitstreams)
    paths = [existing(path, "bitstreams") for path in named]
    # A fit names its file video.linr: the folder's name is the distinct one.
    videos = {(path.parent.name if path.stem == "video" else path.stem): read_latents(path) for path in paths}
    figures = {name: measure_walk(latents)._asdict() for name, latents in videos.items()}
    out = Path(cfg.out)
    draw_latents(videos, out / "latents.png", cfg.seed)
    write_text(out / "latents.json", json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


@torch.no_grad()
def read_latents(path: Path) -> Latents:
    """The latents (training frames, D) in a file; UserError where it has none, or too few to draw."""
    model = decode(read_bytes(path, "bitstreams"))
    frames = model.video.training_frames
    chosen = frames[:: -(-len(frames) // MOST)]
    latents: Latents = model.latent(torch.tensor(chosen)).numpy().astype(np.float32)
    if len(latents) < 4:
        raise UserError(f"bitstreams={path}: {len(latents)} latents; at least 4 make a picture")
    return latents
