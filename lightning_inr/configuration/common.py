"""What tasks of several kinds read from the configuration."""

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_inr.data.captioned.split import DatasetSplit
from lightning_inr.data.sources.source import OpenSource
from lightning_inr.errors import UserError
from lightning_inr.pipelines.provenance import Provenance
from lightning_inr.teachers.feature_cache import default_cache


def plain(node: DictConfig) -> dict[str, Any]:
    """The node as a dict of plain values, with interpolations resolved."""
    values: Any = OmegaConf.to_container(node, resolve=True)
    return values


def source_opener(dataset: DictConfig) -> OpenSource:
    """A picklable function that opens the video of the `dataset` group."""
    options: Any = OmegaConf.to_container(dataset, resolve=True, throw_on_missing=True)
    return partial(_open, options)


def _open(dataset: dict[str, Any]) -> Any:
    return instantiate(dataset)


def listing(cfg: DictConfig) -> DictConfig:
    """The listing node of the `dataset` group; UserError if it is a single video."""
    if "listing" not in cfg.dataset:
        raise UserError(
            "dataset: one video is no collection; choose msrvtt, coin, howto100m, activitynet, shapes or folder"
        )
    found: DictConfig = cfg.dataset.listing
    return found


def read_split(cfg: DictConfig) -> DatasetSplit:
    """The split of the `dataset` group; UserError if it is a single video."""
    split: DatasetSplit = instantiate(listing(cfg))
    return split


def shapes_listing(cfg: DictConfig) -> DictConfig:
    """The listing node of dataset=shapes; UserError for another dataset."""
    found: DictConfig = cfg.dataset.get("listing", {})
    if found.get("_target_") != "lightning_inr.data.shapes.listing.list_shapes":
        raise UserError(f"dataset: task={cfg.task} trains on shapes alone; add dataset=shapes")
    return found


def labels(cfg: DictConfig) -> dict[str, Any]:
    """The labels of a result: the model's preset and the rank."""
    return {"model": cfg.preset, "rank": cfg.get("rank")}


def provenance(cfg: DictConfig) -> Provenance:
    """The dataset, the options that were given, and the command."""
    command = shlex.join(["python", "-m", "lightning_inr.run", *sys.argv[1:]])
    given = (
        list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    )  # none if called from another program
    return Provenance(plain(cfg.dataset), given, command)


def feature_cache(cfg: DictConfig) -> Path:
    """The folder of cached teacher features."""
    return Path(cfg.feature_cache or default_cache())


def wandb_opener(logger: DictConfig | None) -> Callable[[Path], Any] | None:
    """A function that opens a W&B run in a folder; None if `logger` is not wandb."""
    if logger is None or "project" not in logger:
        return None
    return lambda folder: instantiate(logger, save_dir=str(folder)).experiment
