"""How well a collection is found by words: its latents beside CLIP itself and beside chance."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightning_inr.configuration import collection_options, retrieval_options
from lightning_inr.pipelines.collection import collect
from lightning_inr.pipelines.retrieval_evaluation import evaluate_retrieval


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure `collection`, or else this configuration's own, which is fitted first; results go to the run folder."""
    folder = Path(cfg.run_dir)
    options = retrieval_options(cfg)
    if cfg.collection is None:
        collect(collection_options(cfg), folder)
    return evaluate_retrieval(Path(cfg.collection or folder), folder, options)
