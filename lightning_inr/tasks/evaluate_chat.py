"""Evaluation of answers from latents, against the model's own answers from the true frames, and baselines."""

from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig

from lightning_inr.configuration.common import provenance as provenance_of
from lightning_inr.configuration.common import source_opener
from lightning_inr.configuration.evaluations import chat_evaluation_options
from lightning_inr.configuration.fits import collection_options, run_options
from lightning_inr.configuration.queries import questions_of
from lightning_inr.errors import UserError
from lightning_inr.paths import existing
from lightning_inr.pipelines.chat_evaluation import evaluate_chat
from lightning_inr.pipelines.chat_items import EvaluationItem, item_of_file, items_of_collection, with_questions
from lightning_inr.pipelines.collection import collect
from lightning_inr.pipelines.run_folder import fit_into
from lightning_inr.ranges import located


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure `bitstream`, `collection`, or the fit of this configuration; results go to the run folder."""
    if cfg.bitstream is not None and cfg.collection is not None:
        raise UserError("bitstream and collection: give one of them")
    videos = cfg.answers.videos
    if videos is not None and not (isinstance(videos, int) and videos >= 1):
        raise UserError(f"answers.videos={videos}: choose a whole number from 1")
    options, questions = chat_evaluation_options(cfg), questions_of(cfg)
    items, about = prepare_items(cfg)
    return evaluate_chat(with_questions(items, questions, cfg.answers.ask), about, Path(cfg.run_dir), options)


def prepare_items(cfg: DictConfig) -> tuple[list[EvaluationItem], dict[str, Any]]:
    """The items, fitted first if neither file nor collection is given, and their entries in result.json."""
    folder = Path(cfg.run_dir)
    if cfg.collection is not None or (cfg.bitstream is None and "listing" in cfg.dataset):
        if cfg.collection is None:
            collect(collection_options(cfg), folder)
        collection = located(cfg.collection or folder)
        items, figures = items_of_collection(collection, cfg.answers.videos)
        about = {"model": cfg.preset, "video": PurePath(collection).name, **provenance_of(cfg).record("file")}
        return items, {**about, **figures}
    if cfg.bitstream is None:
        result = fit_into(folder, run_options(cfg))
        return [item_of_file(folder / "video.linr", source_opener(cfg.dataset)())[0]], result
    source = source_opener(cfg.dataset)()
    item, figures = item_of_file(existing(cfg.bitstream, "bitstream"), source)
    return [item], {"video": source.name, **provenance_of(cfg).record(source.matrix), **figures}
