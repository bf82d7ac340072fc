"""One source to the bytes of one file, in this process: what `fit` and `collect` have in common."""

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from hydra.utils import get_class, instantiate
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from lightning_inr.chat.fit import Fitting, fit_file
from lightning_inr.chat.projector import SharedProjector, check_same_form, check_same_model, load_shared
from lightning_inr.codec import Codec, Step, check_cost, frame_cost
from lightning_inr.data.features import default_cache, teacher_features, video_tokens
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.shots import find_shots
from lightning_inr.data.source import VideoSource
from lightning_inr.devices import choose_device, fast_bfloat16
from lightning_inr.errors import Terminated, UserError
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.size import read_count, solve_width
from lightning_inr.retrieval.gallery import check_same_space
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.video_llm import VideoLLM
from lightning_inr.training.alignment import AlignmentModule
from lightning_inr.training.callbacks import CHECKPOINT, Budget, History, Moment, all_of, one_of, resume_checkpoint
from lightning_inr.training.checkpoints import WholeCheckpoints
from lightning_inr.training.collapse import CollapseGuard
from lightning_inr.training.convergence import why_unconverged
from lightning_inr.training.fit import FitModule
from lightning_inr.training.rounding import WeightQuantization
from lightning_inr.training.threads import choose_threads, use_threads
from lightning_inr.training.token_alignment import TokenAlignmentModule
from lightning_inr.types import EmbeddingSpace, VideoShape


class Teachers(NamedTuple):
    """Who sees the frames of a video once, before it is fitted."""

    clip: Clip | None = None
    video_llm: VideoLLM | None = None
    projector: SharedProjector | None = None  # through which the latents speak; None: a projector of the file's own


class Prepared(NamedTuple):
    """A fit that could begin."""

    codec: Codec
    module: FitModule
    trainer: L.Trainer
    data: FrameDataModule
    threads: int  # of a step on the CPU
    views: Tensor | None  # (frames, S): what CLIP sees in all frames, the held-out ones too
    tokens: Tensor | None  # (K, d): what a video language model makes of the video


class Fitted(NamedTuple):
    """A video as bytes, and how it got there."""

    bitstream: bytes
    teacher: NDArray[np.float32] | None  # (frames, S): what CLIP sees in all frames
    tokens: NDArray[np.float32] | None  # (K, d): what a video language model makes of the video
    moments: Sequence[Moment]
    figures: dict[str, Any]  # named as in result.json


def load_teachers(cfg: DictConfig) -> Teachers:
    """Those of the configuration; UserError if nobody would listen to one, or one that is listened to is missing."""
    module = get_class(cfg.module._target_)
    aligned, talks = issubclass(module, AlignmentModule), issubclass(module, TokenAlignmentModule)
    if (cfg.teacher is not None and not aligned) or (cfg.teacher is None and aligned and not talks):
        remedy = "add teacher=clip" if aligned else "add module=alignment, or leave the teacher out"
        raise UserError(f"module and teacher: one aligns, the other is aligned to; {remedy}")
    if talks == (cfg.video_llm is None):
        remedy = "add video_llm=llava_onevision" if talks else "add module=token_alignment, or leave the model out"
        raise UserError(f"module and video_llm: one aligns, the other is aligned to; {remedy}")
    if cfg.projector is not None and not talks:
        raise UserError(f"projector={cfg.projector}: no tokens are learned; add module=token_alignment")
    projector = None if cfg.projector is None else load_shared(cfg.projector)
    clip: Clip | None = None if cfg.teacher is None else instantiate(cfg.teacher)
    video_llm: VideoLLM | None = None if cfg.video_llm is None else instantiate(cfg.video_llm)
    if projector is not None and video_llm is not None:
        _check_projector(projector, clip, video_llm)
    return Teachers(clip, video_llm, projector)


def prepare(
    cfg: DictConfig,
    source: VideoSource,
    folder: Path,
    teachers: Teachers = Teachers(),  # noqa: B008  # a tuple, of nothing
    loggers: Sequence[Logger] = (),
) -> Prepared:
    """All that a fit of `source` needs; UserError for every wrong wish, before anything is written."""
    _quiet()
    codec: Codec = instantiate(cfg.codec)
    clip = teachers.clip
    video = source.shape._replace(stride=cfg.stride)
    options: Any = OmegaConf.to_container(cfg.model, resolve=True)
    name = options.pop("name")
    check_cost(build_on_meta(name, video, **options))  # reading takes longer than refusing a wrong rank
    trainer = _trainer(cfg, folder, choose_device(cfg.device), loggers)
    data = FrameDataModule(source, cfg.stride, **cfg.data)
    if options.get("shots", ()) is None:
        seen = (data.frames.frame(row) for row in range(len(data.frames)))
        options["shots"] = [video.training_frames[row] for row in find_shots(seen)]
    net, multiply_adds = _build(cfg, name, video, clip.embedding_space if clip else None, options)
    threads = choose_threads(cfg.threads, multiply_adds * data.step_frames)
    module: FitModule = instantiate(cfg.module, net=net)
    net.init_output_colour(data.mean_colour())
    views, tokens = None, None
    read = data.frames.frame if cfg.stride == 1 else source.read  # from memory, if it holds all frames
    cache = Path(cfg.feature_cache or default_cache())
    if clip is not None:
        views = teacher_features(read, range(source.frames), clip, cache)
        data.frames.teacher = views[list(net.video.training_frames)]
    if teachers.video_llm is not None:
        assert isinstance(module, TokenAlignmentModule)
        tokens_as = teachers.video_llm.token_space(net.video)
        if teachers.projector is not None:
            check_same_form(teachers.projector, tokens_as)
        tokens = video_tokens(read, teachers.video_llm, tokens_as, net.video, cache)
        module.set_token_target(tokens, tokens_as, teachers.projector.network if teachers.projector else None)
    return Prepared(codec, module, trainer, data, threads, views, tokens)


def fit_video(prepared: Prepared, cfg: DictConfig, folder: Path) -> Fitted:
    """Fit, from the checkpoint in `folder` if one is there; one stays there until `forget`."""
    codec, module, trainer, data, threads, views, tokens = prepared
    with use_threads(threads):
        _fit(trainer, module, data, folder)
    net = module.net
    net.store_embeddings(data.in_order())
    unquantized = {"psnr_unquantised": mean_psnr(net, data.frames.source)} if cfg.evaluate_unquantized else {}
    seconds = one_of(trainer, Budget).seconds
    lack = why_unconverged(module, data, views, f"{trainer.global_step} steps in {seconds:.0f} s")
    start = time.perf_counter()
    bitstream = codec.encode(net, learned_steps(trainer))
    if tokens is not None and net.token_space is not None:  # anew, for latents as the file has them
        assert isinstance(module, TokenAlignmentModule)
        fitting = Fitting(cosine_weight=module.cosine_weight)
        bitstream = fit_file(bitstream, net.token_space, tokens, codec, fitting, net.device, cfg.seed)
    figures = {
        **unquantized,
        "fit_seconds": seconds,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,  # of the optimiser
        "threads": threads,
        "converged": lack is None,
        **({} if lack is None else {"unconverged": lack}),
        "collapsed": any(isinstance(each, CollapseGuard) and each.collapsed for each in all_of(trainer)),
        **{f"estimated_{name}": value for name, value in module.extra_metrics.items()},
        "encode_seconds": time.perf_counter() - start,
    }
    seen, said = (None if each is None else each.numpy() for each in (views, tokens))
    return Fitted(bitstream, seen, said, one_of(trainer, History).moments, figures)


def forget(folder: Path) -> None:
    """Remove the checkpoint of a fit that is done."""
    _checkpoint(folder).unlink(missing_ok=True)


def _check_projector(projector: SharedProjector, clip: Clip | None, video_llm: VideoLLM) -> None:
    """UserError if a shared projector reads another teacher's space than the fit's, or speaks to another model."""
    if clip is None:
        raise UserError(f"projector: it reads latents that {projector.reads.teacher} has aligned; add its teacher=…")
    check_same_space(clip.embedding_space, projector.reads, "the teacher", "the projector")
    check_same_model(projector.writes, video_llm)


def mean_psnr(net: VideoRepresentation, source: VideoSource) -> float:
    """PSNR in dB of the seen frames as the network paints them before it is coded, their mean."""
    frames = zip(net.video.training_frames, net.eval().render(net.video.training_frames), strict=True)
    return fmean(
        float(psnr(float(mean_squares(frame[None], source.read(index)[None])), PEAK)) for index, frame in frames
    )


def learned_steps(trainer: L.Trainer) -> Mapping[str, Step]:
    """The grids that training has learned to encode with; none if it has learned none."""
    learned: dict[str, Step] = {}
    for callback in all_of(trainer):
        if isinstance(callback, WeightQuantization):
            learned |= callback.steps()
    return learned


def _quiet() -> None:
    """Lightning's advice is for its developers; ours is in the progress line."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def _build(
    cfg: DictConfig, name: str, video: VideoShape, embedding_space: EmbeddingSpace | None, options: dict[str, Any]
) -> tuple[VideoRepresentation, int]:
    """The model of these options, at the size that `params` asks for, if it does; the multiply-adds of a frame."""
    if cfg.params is not None:
        options = solve_width(name, video, read_count(cfg.params), embedding_space=embedding_space, **options)
        embedding_space = options.pop("embedding_space")
    net = build(name, video, embedding_space, **options).to(memory_format=torch.channels_last)
    return net, frame_cost(build_on_meta(name, video, **options)).multiply_adds


def _trainer(cfg: DictConfig, folder: Path, device: torch.device, loggers: Sequence[Logger]) -> L.Trainer:
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision="bf16-mixed" if fast_bfloat16(device) else "32-true",
        max_epochs=-1,  # the budget ends the fit
        logger=list(loggers),
        callbacks=[*callbacks, resume_checkpoint(str(folder))],
        default_root_dir=str(folder),
        plugins=[WholeCheckpoints()],
        **cfg.trainer,
    )


def _fit(trainer: L.Trainer, module: FitModule, data: FrameDataModule, folder: Path) -> None:
    """Fit, from the checkpoint in `folder` if there is one."""
    begun = _checkpoint(folder)
    try:
        trainer.fit(module, data, ckpt_path=begun if begun.exists() else None, weights_only=True)
    except SystemExit as stop:  # so Lightning ends on Ctrl-C
        kind = Terminated if isinstance(stop, Terminated) else KeyboardInterrupt
        raise kind(f"the same command with run_dir={folder} goes on from there") from stop
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}; free some space and go on") from error


def _checkpoint(folder: Path) -> Path:
    return folder / f"{CHECKPOINT}.ckpt"
