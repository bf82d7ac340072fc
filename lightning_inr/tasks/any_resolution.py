"""Decoding speed and quality of one file at several sizes (Latent-INR, Fig. 4)."""

import json
import math
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lightning_inr.codec import read_video
from lightning_inr.configuration.common import source_opener
from lightning_inr.configuration.fits import run_options
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.devices import choose_device
from lightning_inr.paths import write_text
from lightning_inr.pipelines.any_resolution import ResolutionJob, ResolutionResult, measure_at_size
from lightning_inr.pipelines.run_folder import fit_into
from lightning_inr.progress import ProgressBar
from lightning_inr.ranges import FileRanges
from lightning_inr.report.figures import draw_resolutions


def run(cfg: DictConfig) -> None:
    """Measure `bitstream`, or a fit of this configuration, at every factor; writes any_resolution.json and pictures."""
    folder = Path(cfg.run_dir)
    if cfg.bitstream is None:
        fit_into(folder, run_options(cfg))
    path = Path(cfg.bitstream or folder / "video.linr")
    model = read_video(FileRanges(path), choose_device(cfg.device))

    def open_at(height: int | None, width: int | None) -> VideoSource:
        return source_opener(OmegaConf.create({**cfg.dataset, "height": height, "width": width}))()

    largest = open_at(None, None)
    numbers = range(0, model.video.frames, -(-model.video.frames // cfg.frames))
    job = ResolutionJob(model, open_at, (largest.height, largest.width), numbers, folder)
    rows = [measure_at_size(job, factor) for factor in ProgressBar(cfg.factors, "sizes", leave=False)]
    write_text(folder / "any_resolution.json", json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    speeds = {"this file": [row.fps for row in rows], "x265 medium": [row.x265_fps or math.nan for row in rows]}
    draw_resolutions([row.height for row in rows], speeds, folder / "any_resolution.png")
    _print_table(rows)


def _print_table(rows: list[ResolutionResult]) -> None:
    print("  factor       size  frames/s  x265 frames/s  PSNR rendered  PSNR resized")
    for row in rows:
        rendered, resized = (f"{value:10.2f} dB" if value else f"{'-':>13}" for value in row[-2:])
        size, x265_speed = f"{row.height}x{row.width}", f"{row.x265_fps:.0f}" if row.x265_fps else "-"
        print(f"  {row.factor:6g} {size:>10} {row.fps:9.0f} {x265_speed:>14} {rendered} {resized}")
