"""Conversion of the configuration to the typed options of the pipelines."""

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from lightning_inr.chat.fit import ProjectorFit
from lightning_inr.chat.projector import SharedProjector, check_same_model, load_shared
from lightning_inr.data.captioned.questions import Question
from lightning_inr.data.captioned.split import DatasetSplit
from lightning_inr.data.sources.source import OpenSource
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines.chat_backend import BackendOptions
from lightning_inr.pipelines.chat_evaluation import ChatEvaluationOptions
from lightning_inr.pipelines.collection import CollectionOptions
from lightning_inr.pipelines.fitting import FitOptions, Teachers
from lightning_inr.pipelines.provenance import Provenance
from lightning_inr.pipelines.retrieval_evaluation import RetrievalOptions
from lightning_inr.pipelines.run_folder import RunOptions
from lightning_inr.pipelines.search import clip_of_collection
from lightning_inr.retrieval.gallery import check_same_space
from lightning_inr.retrieval.protocols import ProtocolOptions
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.feature_cache import default_cache
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.training.modules.alignment import AlignmentModule
from lightning_inr.training.modules.fit_module import FitModule
from lightning_inr.training.modules.token_alignment import TokenAlignmentModule

NOT_CLIP_OPTIONS = ("_target_", "sequence", "listing")  # of the dataset group; the others are clip options


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


def fit_options(cfg: DictConfig) -> FitOptions:
    """The options of a fit."""
    model = plain(cfg.model)
    module = plain(cfg.module)
    projector = module.pop("projector_fit", None)
    if projector is not None:
        projector["cosine_weight"] = cfg.module.cosine_weight
    return FitOptions(
        model=model.pop("name"),
        model_options=model,
        codec=instantiate(cfg.codec),
        make_module=partial(_make_module, module),
        make_callbacks=partial(_make_callbacks, cfg.callbacks),
        trainer=plain(cfg.trainer),
        data=plain(cfg.data),
        params=cfg.params,
        stride=cfg.stride,
        device=cfg.device,
        seed=cfg.seed,
        threads=cfg.threads,
        projector_fit=ProjectorFit(**(projector or {})),
        feature_cache=feature_cache(cfg),
        evaluate_unquantized=cfg.evaluate_unquantized,
    )


def _make_module(options: dict[str, Any], net: VideoRepresentation) -> FitModule:
    module: FitModule = instantiate(options, net=net)
    return module


def _make_callbacks(options: DictConfig) -> list[Callback]:
    return [instantiate(callback) for callback in options.values() if callback is not None]


def run_options(cfg: DictConfig) -> RunOptions:
    """The options of a fit in a run folder."""
    return RunOptions(
        fit=fit_options(cfg),
        open_source=source_opener(cfg.dataset),
        load_teachers=partial(load_teachers, cfg),
        make_loggers=logger_maker(cfg.logger),
        settings=plain(cfg),
        provenance=provenance(cfg),
        labels=labels(cfg),
        keep_checkpoints=cfg.keep_checkpoints,
        vmaf=cfg.vmaf,
    )


def collection_options(cfg: DictConfig) -> CollectionOptions:
    """The options of a collection: a fit of every video of a captioned dataset."""
    if cfg.teacher is not None and Path(cfg.teacher.weights).exists():
        cfg.teacher.weights = str(Path(cfg.teacher.weights).resolve())  # for searches from other folders
    dataset = plain(cfg.dataset)
    return CollectionOptions(
        fit=fit_options(cfg),
        read_split=partial(read_split, cfg),
        clip_options={name: value for name, value in dataset.items() if name not in NOT_CLIP_OPTIONS},
        load_teachers=partial(load_teachers, cfg),
        make_loggers=logger_maker(cfg.logger),
        settings=plain(cfg),
        shard=cfg.shard,
        attempts=cfg.attempts,
    )


def retrieval_options(cfg: DictConfig) -> RetrievalOptions:
    """The options of a retrieval evaluation."""
    name = Path(cfg.collection).name if cfg.collection else listing(cfg)._target_.rpartition("list_")[2]
    return RetrievalOptions(
        find_clip=clip_finder(cfg),
        cache=feature_cache(cfg),
        protocols=list(cfg.retrieval.protocols),
        protocol_options=ProtocolOptions(**{name: cfg.retrieval[name] for name in ProtocolOptions._fields}),
        frame_stride=cfg.retrieval.frame_stride,
        neighbours=cfg.retrieval.neighbours,
        about={**labels(cfg), "video": name, **provenance(cfg).record("file"), "seed": cfg.seed},
        open_wandb=wandb_opener(cfg.logger),
    )


def chat_evaluation_options(cfg: DictConfig) -> ChatEvaluationOptions:
    """The options of a chat evaluation."""
    answers = cfg.answers
    ask = answers.ask
    if cfg.questions is None and (not ask or isinstance(ask, str) or not all(str(text).strip() for text in ask)):
        raise UserError(f"answers.ask={ask}: list some questions, none of them empty, or choose questions=file")
    return ChatEvaluationOptions(
        chat_backend_options(cfg),
        max_new_tokens=answers.max_new_tokens,
        shown=answers.shown,
        identical=answers.identical,
        open_wandb=wandb_opener(cfg.logger),
    )


def chat_backend_options(cfg: DictConfig) -> BackendOptions:
    """The options of the chat backend."""
    load_llm = None if cfg.video_llm is None else partial(_load_llm, cfg.video_llm)
    return BackendOptions(cfg.projector, load_llm, cfg.dtype, cfg.device)


def _load_llm(options: DictConfig, load_vision: bool) -> VideoLLM:
    llm: VideoLLM = instantiate(options, load_vision=load_vision)
    return llm


def questions_of(cfg: DictConfig) -> list[Question] | None:
    """The questions of the `questions` group; None without one."""
    questions: list[Question] | None = None if cfg.questions is None else instantiate(cfg.questions)
    return questions


def clip_finder(cfg: DictConfig) -> Callable[[Path], Clip]:
    """A function that loads the `teacher` of the configuration, else the one that a collection's config.yaml names."""

    def find(folder: Path) -> Clip:
        if cfg.teacher is None:
            return clip_of_collection(folder, cfg.device)
        clip: Clip = instantiate(cfg.teacher)
        return clip

    return find


def feature_cache(cfg: DictConfig) -> Path:
    """The folder of cached teacher features."""
    return Path(cfg.feature_cache or default_cache())


def wandb_opener(logger: DictConfig | None) -> Callable[[Path], Any] | None:
    """A function that opens a W&B run in a folder; None if `logger` is not wandb."""
    if logger is None or "project" not in logger:
        return None
    return lambda folder: instantiate(logger, save_dir=str(folder)).experiment


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


def listing(cfg: DictConfig) -> DictConfig:
    """The listing node of the `dataset` group; UserError if it is a single video."""
    if "listing" not in cfg.dataset:
        raise UserError(
            "dataset: one video is no collection; choose msrvtt, coin, howto100m, activitynet, shapes or folder"
        )
    found: DictConfig = cfg.dataset.listing
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


def logger_maker(logger: DictConfig | None) -> Callable[[Path], list[Logger]]:
    """A function that creates the loggers of a folder; no loggers without a `logger` group."""

    def make(folder: Path) -> list[Logger]:
        return [] if logger is None else [instantiate(logger, save_dir=str(folder))]

    return make


def load_teachers(cfg: DictConfig) -> Teachers:
    """The teachers of the configuration; UserError if the module does not use one, or requires a missing one."""
    module = get_class(cfg.module._target_)
    aligned, with_tokens = issubclass(module, AlignmentModule), issubclass(module, TokenAlignmentModule)
    if (cfg.teacher is not None and not aligned) or (cfg.teacher is None and aligned and not with_tokens):
        remedy = "add teacher=clip" if aligned else "add module=alignment, or leave the teacher out"
        raise UserError(f"module and teacher: an alignment module and a teacher require each other; {remedy}")
    if with_tokens == (cfg.video_llm is None):
        remedy = "add video_llm=llava_onevision" if with_tokens else "add module=token_alignment, or leave it out"
        raise UserError(
            f"module and video_llm: token_alignment and a video language model require each other; {remedy}"
        )
    if cfg.projector is not None and not with_tokens:
        raise UserError(f"projector={cfg.projector}: no tokens are learned; add module=token_alignment")
    projector = None if cfg.projector is None else load_shared(cfg.projector)
    clip: Clip | None = None if cfg.teacher is None else instantiate(cfg.teacher)
    video_llm: VideoLLM | None = None if cfg.video_llm is None else instantiate(cfg.video_llm)
    if projector is not None and video_llm is not None:
        _check_projector(projector, clip, video_llm)
    return Teachers(clip, video_llm, projector)


def _check_projector(projector: SharedProjector, clip: Clip | None, video_llm: VideoLLM) -> None:
    """UserError if a shared projector is for another embedding space than the fit's, or for another model."""
    if clip is None:
        raise UserError(
            f"projector: it needs latents aligned to {projector.embedding_space.teacher}; add its teacher=…"
        )
    check_same_space(clip.embedding_space, projector.embedding_space, "the teacher", "the projector")
    check_same_model(projector.token_space, video_llm)
