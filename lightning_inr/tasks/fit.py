"""The main job: fits a video, writes it as one file, decodes and measures that file, and draws figures."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightning_inr.configuration.fits import run_options
from lightning_inr.pipelines.run_folder import fit_into


def run(cfg: DictConfig) -> dict[str, Any]:
    """Fit into the run folder; an interrupted fit is resumed."""
    return fit_into(Path(cfg.run_dir), run_options(cfg))
