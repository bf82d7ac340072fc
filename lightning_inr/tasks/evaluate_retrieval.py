"""Evaluation of text retrieval in a collection: latents compared with CLIP and with random latents."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightning_inr.configuration.evaluations import retrieval_options
from lightning_inr.configuration.fits import collection_options
from lightning_inr.pipelines.collection import collect
from lightning_inr.pipelines.retrieval_evaluation import evaluate_retrieval


def run(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate `collection`, or one fitted first with this configuration; results go to the run folder."""
    folder = Path(cfg.run_dir)
    options = retrieval_options(cfg)
    if cfg.collection is None:
        collect(collection_options(cfg), folder)
    return evaluate_retrieval(cfg.collection or folder, folder, options)
