"""The main job: fit a video, write it as one file, decode that file, measure it, draw it."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightning_inr.configuration import run_options
from lightning_inr.pipelines.run_folder import fit_into


def run(cfg: DictConfig) -> dict[str, Any]:
    """Leave the run folder of the README behind; a fit that was begun there is resumed."""
    return fit_into(Path(cfg.run_dir), run_options(cfg))
