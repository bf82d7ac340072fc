"""The options of a fit, of a run folder and of a collection."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from lightning_inr.chat.fit import ProjectorFit
from lightning_inr.chat.projector import SharedProjector, check_same_model, load_shared
from lightning_inr.configuration.common import feature_cache, labels, plain, provenance, read_split, source_opener
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines.cluster.ray import RayOptions
from lightning_inr.pipelines.collection_worker import CollectionOptions
from lightning_inr.pipelines.fitting import FitOptions, Teachers
from lightning_inr.pipelines.run_folder import RunOptions
from lightning_inr.retrieval.gallery import check_same_space
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.training.modules.alignment import AlignmentModule
from lightning_inr.training.modules.fit_module import FitModule
from lightning_inr.training.modules.token_alignment import TokenAlignmentModule

NOT_CLIP_OPTIONS = ("_target_", "sequence", "listing")  # of the dataset group; the others are clip options


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
    if cfg.cluster is not None and cfg.segment_frames is None:
        raise UserError("cluster: fits segments of a video at once; add segment_frames=120, or leave cluster out")
    if cfg.segment_frames is not None and cfg.video_llm is not None:
        raise UserError(
            f"segment_frames={cfg.segment_frames}: segments have no projector of their own; leave video_llm and "
            "module=token_alignment out, and ask about the file with a shared projector"
        )
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
        segment_frames=cfg.segment_frames,
        cluster=ray_options(cfg),
    )


def ray_options(cfg: DictConfig) -> RayOptions | None:
    """The Ray cluster of the configuration; None: none."""
    return None if cfg.cluster is None else RayOptions(**plain(cfg.cluster))


def collection_options(cfg: DictConfig) -> CollectionOptions:
    """The options of a collection: a fit of every video of a captioned dataset."""
    if cfg.segment_frames is not None:
        raise UserError(f"segment_frames={cfg.segment_frames}: a collection has a network per video; leave it out")
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
        cluster=ray_options(cfg),
        pack=cfg.pack,
    )


def logger_maker(logger: DictConfig | None) -> Callable[[Path], list[Logger]]:
    """A picklable function that creates the loggers of a folder; no loggers without a `logger` group."""
    return partial(_make_loggers, logger)


def _make_loggers(logger: DictConfig | None, folder: Path) -> list[Logger]:
    return [] if logger is None else [instantiate(logger, save_dir=str(folder))]


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
