"""Prints the figures of a `.linr` file against its source as JSON."""

import json

from omegaconf import DictConfig

from lightning_inr.configuration.common import source_opener
from lightning_inr.pipelines.evaluation import EvaluationRequest, measure_in_new_process


def run(cfg: DictConfig) -> None:
    """Measure `bitstream` against `dataset` and print the figures."""
    request = EvaluationRequest(str(cfg.bitstream), source_opener(cfg.dataset), cfg.device, vmaf=cfg.vmaf)
    print(json.dumps(measure_in_new_process(request), indent=2))
