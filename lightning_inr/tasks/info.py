"""Prints the header and the cost of a `.linr` file as JSON; no tensor is decoded."""

import json

from omegaconf import DictConfig

from lightning_inr.codec import describe_file
from lightning_inr.ranges import FileRanges


def run(cfg: DictConfig) -> None:
    """Print the header, the bytes of each role and the cost of a frame as JSON."""
    print(json.dumps(describe_file(FileRanges(cfg.bitstream)), indent=2))
