"""Fit every video of a captioned dataset: one `.linr` each, and a manifest."""

from omegaconf import DictConfig

from lightning_inr.configuration.fits import collection_options
from lightning_inr.pipelines.collection import collect


def run(cfg: DictConfig) -> None:
    """Fit every video of `dataset` that is not in `collection` yet."""
    collect(collection_options(cfg), cfg.collection)
