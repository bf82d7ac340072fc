"""One video to the bytes of one file, in this process."""

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_inr.chat.fit import ProjectorFit, fit_file
from lightning_inr.chat.projector import SharedProjector, check_compatible
from lightning_inr.codec import Codec, QuantizationStep, check_cost, frame_cost
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.shots import find_shots
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.devices import choose_device, fast_bfloat16
from lightning_inr.errors import Terminated, UserError
from lightning_inr.metrics import mean_psnr_of_pairs
from lightning_inr.models import build, build_on_meta
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.pipelines.ranks import ranks_of
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.feature_cache import default_cache, teacher_features, video_tokens
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.training.callbacks.base import all_of, one_of
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.collapse import CollapseGuard
from lightning_inr.training.callbacks.history import History, Moment
from lightning_inr.training.callbacks.weight_quantization import WeightQuantization
from lightning_inr.training.checkpoints import CHECKPOINT, WholeCheckpoints, resume_checkpoint
from lightning_inr.training.convergence import why_unconverged
from lightning_inr.training.modules.fit_module import FitModule
from lightning_inr.training.modules.token_alignment import TokenAlignmentModule
from lightning_inr.training.threads import choose_threads, use_threads
from lightning_inr.types import TokenSpace, VideoShape

# For rank 0, which asks the teachers and loads them; a lost process is noticed otherwise.
LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class FitOptions:
    """What is fitted, how, and for how long."""

    model: str  # its name in `MODELS`
    model_options: Mapping[str, Any]
    codec: Codec
    make_module: Callable[[VideoRepresentation], FitModule]
    make_callbacks: Callable[[], list[Callback]]  # new ones for each fit: they have state
    trainer: Mapping[str, Any]  # of Lightning's Trainer
    data: Mapping[str, Any]  # of FrameDataModule
    params: str | int | None = None  # the number of parameters that the width is solved for; None: by model_options
    stride: int = 1  # every stride-th frame is a training frame
    device: str = "auto"
    seed: int = 0
    threads: int | None = None
    projector_fit: ProjectorFit = field(default_factory=ProjectorFit)  # of a projector of the file's own
    feature_cache: Path | None = None  # folder of the teachers' features; None: the default one
    evaluate_unquantized: bool = False  # measure PSNR before coding too

    @property
    def cache(self) -> Path:
        """The folder of the teachers' features."""
        return self.feature_cache or default_cache()


class Teachers(NamedTuple):
    """The models that encode the frames of a video once, before it is fitted."""

    clip: Clip | None = None
    video_llm: VideoLLM | None = None
    projector: SharedProjector | None = None  # fixed, that the latents are trained through; None: one of the file's own


class Prepared(NamedTuple):
    """A fit that could begin."""

    codec: Codec
    module: FitModule
    trainer: L.Trainer
    data: FrameDataModule
    threads: int  # of a step on the CPU
    embeddings: Tensor | None  # (frames, S): the teacher's of all frames, the held-out ones too
    tokens: Tensor | None  # (K, d): the teacher's visual tokens


class Spent(NamedTuple):
    """What a fit has taken."""

    seconds: float
    epochs: int
    steps: int  # of the optimiser

    @classmethod
    def of(cls, trainer: L.Trainer) -> "Spent":
        """What the trainer's fit has taken."""
        return cls(one_of(trainer, Budget).seconds, trainer.current_epoch, trainer.global_step)


class Fitted(NamedTuple):
    """A video as bytes, and how it got there."""

    bitstream: bytes
    teacher: NDArray[np.float32] | None  # (frames, S): the teacher's embeddings of all frames
    tokens: NDArray[np.float32] | None  # (K, d): the teacher's visual tokens
    moments: Sequence[Moment]
    figures: dict[str, Any]  # named as in result.json


def prepare_fit(
    options: FitOptions,
    source: VideoSource,
    folder: Path,
    teachers: Teachers = Teachers(),  # noqa: B008  # a tuple, of nothing
    loggers: Sequence[Logger] = (),
) -> Prepared:
    """All that a fit of `source` needs; UserError for every wrong option, before anything is written."""
    _quiet()
    clip = teachers.clip
    video = source.shape._replace(stride=options.stride)
    config = dict(options.model_options)
    on_meta = build_on_meta(options.model, video, **config)
    check_cost(on_meta)  # a wrong rank is refused before the video is read
    # A checkpoint of a million parameters takes up to 20 ms.
    seconds = max(5.0, sum(parameter.numel() for parameter in on_meta.parameters()) / 1e6)
    trainer = make_trainer(options, folder, loggers, "embeddings" in on_meta.roles(), seconds)
    if trainer.world_size > 1:
        trainer.strategy.setup_environment()  # joins the processes; the same seed for the initial values on all
    of_rank_zero = trainer.strategy.broadcast  # its argument in a fit on one device
    data = FrameDataModule(source, options.stride, **options.data)
    _check_enough_frames(data, trainer.world_size)
    if config.get("shots", ()) is None:
        frames = (data.frames.frame(row) for row in range(len(data.frames)))
        config["shots"] = [video.training_frames[row] for row in find_shots(frames)]
    space = of_rank_zero(clip.embedding_space if clip else None)
    net = build(options.model, video, space, options.params, data.mean_colour(), **config)
    multiply_adds = frame_cost(build_on_meta(options.model, video, **asdict(net.config))).multiply_adds
    threads = choose_threads(options.threads, multiply_adds * data.step_frames)
    module = options.make_module(net)
    read = data.frames.frame if options.stride == 1 else source.read  # from memory, if it holds all frames
    features = None if clip is None else teacher_features(read, range(source.frames), clip, options.cache)
    embeddings = of_rank_zero(features)
    if embeddings is not None:
        data.frames.teacher = embeddings[list(net.video.training_frames)]
    target = of_rank_zero(_token_target(teachers, read, net.video, options.cache))
    if target is not None:
        assert isinstance(module, TokenAlignmentModule)
        module.set_token_target(*target)
    return Prepared(options.codec, module, trainer, data, threads, embeddings, target.tokens if target else None)


class _TokenTarget(NamedTuple):
    """The arguments of `TokenAlignmentModule.set_token_target`."""

    tokens: Tensor  # (K, d): the teacher's visual tokens
    space: TokenSpace
    reader: nn.Module | None


def _token_target(
    teachers: Teachers, read: Callable[[int], Tensor], video: VideoShape, cache: Path
) -> _TokenTarget | None:
    """What the latents are trained to give; None without a video language model."""
    if teachers.video_llm is None:
        return None
    space = teachers.video_llm.token_space(video)
    if teachers.projector is not None:
        check_compatible(teachers.projector, space)
    tokens = video_tokens(read, teachers.video_llm, space, video, cache)
    return _TokenTarget(tokens, space, teachers.projector.network if teachers.projector else None)


def _check_enough_frames(data: FrameDataModule, processes: int) -> None:
    """UserError if several processes would have the same frame, and not different windows of it."""
    frames = len(data.frames)
    if frames < processes and data.frames.window is None:
        raise UserError(
            f"trainer.devices: {processes} processes for {frames} training frames; choose at most {frames}, or add "
            "data.window=[HEIGHT,WIDTH], so that each process takes its own window of a frame"
        )


def fit_video(prepared: Prepared, options: FitOptions, folder: Path) -> Fitted:
    """Fit, from the checkpoint in `folder` if one is there; one stays there until `forget`."""
    train(prepared, folder)
    return encode_fit(prepared, options)


def train(prepared: Prepared, folder: Path) -> None:
    """Fit without encoding, from the checkpoint in `folder` if one is there."""
    with use_threads(prepared.threads):
        run_fit(prepared.trainer, prepared.module, prepared.data, folder)


def encode_fit(prepared: Prepared, options: FitOptions, spent: Spent | None = None) -> Fitted:
    """The bytes and the figures of a fit that was trained; of several processes, rank 0 alone calls this.

    `spent`: what it has taken, if another trainer than its own has trained it.
    """
    codec, module, trainer, data, threads, embeddings, tokens = prepared
    spent = spent or Spent.of(trainer)
    net = module.net
    net.store_embeddings(data.in_order())
    unquantized = {"psnr_unquantised": mean_psnr(net, data.frames.source)} if options.evaluate_unquantized else {}
    lack = why_unconverged(module, data, embeddings, f"{spent.steps} steps in {spent.seconds:.0f} s")
    start = time.perf_counter()
    bitstream = codec.encode(net, learned_steps(trainer))
    encode_seconds = time.perf_counter() - start
    projector_seconds = {}
    if tokens is not None and net.token_space is not None:  # trained anew, for latents as the file has them
        start = time.perf_counter()
        bitstream = fit_file(bitstream, net.token_space, tokens, codec, options.projector_fit, net.device, options.seed)
        projector_seconds["projector_seconds"] = time.perf_counter() - start
    figures = {
        **unquantized,
        "fit_seconds": spent.seconds,
        "epochs": spent.epochs,
        "steps": spent.steps,
        "threads": threads,
        "devices": trainer.world_size,
        "converged": lack is None,
        **({} if lack is None else {"unconverged": lack}),
        "collapsed": any(isinstance(each, CollapseGuard) and each.collapsed for each in all_of(trainer)),
        **{f"estimated_{name}": value for name, value in module.extra_metrics.items()},
        "encode_seconds": encode_seconds,
        **projector_seconds,
    }
    teacher, target = (None if each is None else each.numpy() for each in (embeddings, tokens))
    return Fitted(bitstream, teacher, target, one_of(trainer, History).moments, figures)


def forget(folder: Path) -> None:
    """Remove the checkpoint of a fit that is done."""
    _checkpoint(folder).unlink(missing_ok=True)


def mean_psnr(net: VideoRepresentation, source: VideoSource) -> float:
    """Mean PSNR in dB of the training frames as the network renders them before it is coded."""
    frames = zip(net.video.training_frames, net.eval().render(net.video.training_frames), strict=True)
    return mean_psnr_of_pairs((frame, source.read(index)) for index, frame in frames)


def learned_steps(trainer: L.Trainer) -> Mapping[str, QuantizationStep]:
    """The quantisation steps that training has learned, by tensor; empty if it has learned none."""
    learned: dict[str, QuantizationStep] = {}
    for callback in all_of(trainer):
        if isinstance(callback, WeightQuantization):
            learned |= callback.steps()
    return learned


def _quiet() -> None:
    """Lightning's advice is for its developers; ours is in the progress line."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def make_trainer(
    options: FitOptions,
    folder: Path,
    loggers: Sequence[Logger] = (),
    has_embeddings: bool = False,
    seconds: float = 5.0,
) -> L.Trainer:
    """A trainer for one fit, with new callbacks; it replaces the checkpoint in `folder` every `seconds`.

    `has_embeddings`: whether the model stores embeddings of frames that an encoder gives.
    """
    device = choose_device(options.device)
    ranks = ranks_of(options.trainer, device)
    several: dict[str, Any] = {}
    if ranks.total > 1:
        # Stored embeddings are not used before rounding starts, and the encoder that gave them is not used afterwards.
        strategy = DDPStrategy(find_unused_parameters=has_embeddings, broadcast_buffers=False, timeout=LONGEST_WAIT)
        several = {"strategy": strategy}
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision="bf16-mixed" if fast_bfloat16(device) else "32-true",
        max_epochs=-1,  # the budget ends the fit
        logger=list(loggers),
        callbacks=[*options.make_callbacks(), resume_checkpoint(str(folder), seconds)],
        default_root_dir=str(folder),
        plugins=[WholeCheckpoints(), *([ranks.environment] if ranks.environment else [])],
        **{**options.trainer, **several},
    )


def run_fit(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule, folder: Path) -> None:
    """Fit, from the checkpoint in `folder` if there is one."""
    begun = _checkpoint(folder)
    try:
        found = trainer.strategy.broadcast(begun if begun.exists() else None)
        trainer.fit(module, data, ckpt_path=found, weights_only=True)
    except SystemExit as stop:
        if not isinstance(stop, Terminated) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise  # of a scheduler that stops the job to start it again; Lightning makes one of Ctrl-C
        kind = Terminated if isinstance(stop, Terminated) else KeyboardInterrupt
        raise kind(f"the same command with run_dir={folder} goes on from there") from stop
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}; free some space and go on") from error


def _checkpoint(folder: Path) -> Path:
    return folder / f"{CHECKPOINT}.ckpt"
