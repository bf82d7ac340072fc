"""Where a figure comes from: what every result.json says of its own making."""

import shlex
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightning_inr import __version__


def provenance(cfg: DictConfig, matrix: str) -> dict[str, Any]:
    """The frames, how YCbCr became RGB, what the command line set, the command itself, the version."""
    return {
        "dataset": OmegaConf.to_container(cfg.dataset, resolve=True),
        "matrix": matrix,
        "overrides": list(HydraConfig.get().overrides.task),
        "command": shlex.join(["python", "-m", "lightning_inr.run", *sys.argv[1:]]),
        "version": __version__,
    }
