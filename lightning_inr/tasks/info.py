"""Prints the header and the cost of a `.linr` file as JSON; no tensor is decoded."""

import json

from omegaconf import DictConfig

from lightning_inr.codec import describe
from lightning_inr.paths import read_bytes


def run(cfg: DictConfig) -> None:
    """Print the header, the bytes of each role and the cost of a frame as JSON."""
    print(json.dumps(describe(read_bytes(cfg.bitstream, "bitstream")), indent=2))
