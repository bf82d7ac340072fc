"""Where a figure comes from: what every result.json says of its own making."""

import shlex
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lightning_inr import __version__
from lightning_inr.errors import UserError


def load_config(path: Path) -> dict[str, Any] | None:
    """The options that a folder was begun with, None if there is no such file; UserError if it is damaged."""
    try:
        options: Any = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged ({reason}); remove it, or name another folder") from error
    if not isinstance(options, dict):
        raise UserError(f"{path} is damaged: it holds no options; remove it, or name another folder")
    return options


def provenance(cfg: DictConfig, matrix: str) -> dict[str, Any]:
    """The frames, how YCbCr became RGB, what the command line set, the command itself, the version."""
    return {
        "dataset": OmegaConf.to_container(cfg.dataset, resolve=True),
        "matrix": matrix,
        "overrides": list(HydraConfig.get().overrides.task),
        "command": shlex.join(["python", "-m", "lightning_inr.run", *sys.argv[1:]]),
        "version": __version__,
    }
