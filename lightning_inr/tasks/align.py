"""Trains a projector to a video language model: for one file, or shared by all files aligned to one teacher."""

import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_inr.chat.fit import ProjectorFit
from lightning_inr.configuration.common import feature_cache, read_split, source_opener
from lightning_inr.errors import UserError
from lightning_inr.paths import existing
from lightning_inr.pipelines.projector_training import (
    FileProjectorOptions,
    SharedProjectorOptions,
    align_file,
    examples_of_collection,
    examples_of_dataset,
    share_projector,
)
from lightning_inr.ranges import located
from lightning_inr.retrieval.collection import read_manifest
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.video_llm.interface import VideoLLM


def run(cfg: DictConfig) -> dict[str, Any]:
    """Write `out`, a file with a projector or a shared projector, and print its figures as JSON."""
    if cfg.bitstream is not None and cfg.collection is not None:
        raise UserError("bitstream and collection: give one of bitstream=video.linr and collection=FOLDER")
    if cfg.video_llm is None:
        raise UserError("video_llm: there is no model to align to; add video_llm=llava_onevision")
    if cfg.projector is not None:
        raise UserError(
            f"projector={cfg.projector}: task=align trains one; leave it out and name the new file with out=…"
        )
    fit = ProjectorFit(**cfg.align)
    _check_writable(Path(cfg.out).expanduser())
    figures = _align(cfg, fit) if cfg.bitstream is not None else _share(cfg, fit)
    print(json.dumps(figures, indent=2))
    return figures


def _check_writable(out: Path) -> None:
    """UserError if `out` cannot be written; checked before hours of encoding videos."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror}); choose another place") from error


def _align(cfg: DictConfig, fit: ProjectorFit) -> dict[str, Any]:
    existing(cfg.bitstream, "bitstream")  # an error before the model is loaded
    llm: VideoLLM = instantiate(cfg.video_llm)
    options = FileProjectorOptions(feature_cache(cfg), instantiate(cfg.codec), fit, cfg.seed, cfg.device)
    return align_file(str(cfg.bitstream), source_opener(cfg.dataset), llm, str(cfg.out), options)


def _share(cfg: DictConfig, fit: ProjectorFit) -> dict[str, Any]:
    options = SharedProjectorOptions(feature_cache(cfg), fit, cfg.videos, cfg.held_out, cfg.seed, cfg.device)
    if cfg.collection is None and ("listing" not in cfg.dataset or cfg.teacher is None):
        raise UserError(
            "align: no training data; give one of bitstream=video.linr, collection=FOLDER, and a captioned "
            "dataset with a teacher, as dataset=shapes dataset.listing.split=train teacher=shapes"
        )
    # A wrong collection is an error before the model is loaded.
    folder = None if cfg.collection is None else located(cfg.collection)
    records = [] if folder is None else read_manifest(folder)
    llm: VideoLLM = instantiate(cfg.video_llm)
    if folder is not None:
        examples = examples_of_collection(folder, records, llm, options)
    else:
        clip: Clip = instantiate(cfg.teacher)
        examples = examples_of_dataset(read_split(cfg), clip, llm, options)
    return share_projector(examples, cfg.collection or "dataset", llm, str(cfg.out), options)
