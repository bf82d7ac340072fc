"""Look inside a `.linr` file: JSON on stdout, no tensor decoded."""

import json

from omegaconf import DictConfig

from lightning_inr.codec import describe
from lightning_inr.paths import read_bytes


def run(cfg: DictConfig) -> None:
    """Print what the file says of itself."""
    print(json.dumps(describe(read_bytes(cfg.bitstream, "bitstream")), indent=2))
