"""Look inside a `.linr` file: JSON on stdout, no tensor decoded."""

import json

from omegaconf import DictConfig

from lightning_inr.codec import describe
from lightning_inr.paths import existing


def run(cfg: DictConfig) -> None:
    """Print what the file says of itself."""
    print(json.dumps(describe(existing(cfg.bitstream, "bitstream").read_bytes()), indent=2))
