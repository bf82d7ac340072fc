"""The main job: fit a video, write it as one file, decode that file, measure it, show it."""

import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from lightning_inr.codec import Codec, Step
from lightning_inr.data.module import FrameDataModule
from lightning_inr.data.source import VideoSource
from lightning_inr.devices import choose_device, fast_bfloat16
from lightning_inr.errors import InterruptedFitError, UserError
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.models import build
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.size import read_count, sized
from lightning_inr.paths import write_bytes, write_text
from lightning_inr.report.pictures import draw_training
from lightning_inr.tasks.evaluate import Wish, measure_apart
from lightning_inr.tasks.record import provenance
from lightning_inr.training.callbacks import CHECKPOINT, Budget, History, Moment, all_of, one_of, resume_checkpoint
from lightning_inr.training.collapse import CollapseGuard
from lightning_inr.training.fit import FitModule
from lightning_inr.training.loggers import log_result
from lightning_inr.training.rounding import Rounding
from lightning_inr.types import VideoShape

# Settings that may differ when a fit is gone on with: they do not change what is fitted.
NOT_THE_FIT = ("run_dir", "device", "gpus", "logger", "trainer", "keep_checkpoints", "callbacks.previews")


def run(cfg: DictConfig) -> dict[str, Any]:
    """Leave the run folder of the README behind; a run folder that was begun is gone on with."""
    folder = Path(cfg.run_dir)
    if finished := finished_result(folder, cfg):
        print(f"{folder} holds a finished fit of this configuration\n{table(finished)}")
        return finished
    _quiet()
    L.seed_everything(cfg.seed, verbose=False)
    device = choose_device(cfg.device)
    codec: Codec = instantiate(cfg.codec)
    whole: VideoSource = instantiate(cfg.dataset)
    source = whole.seen_at(cfg.stride)
    net = _build(cfg, source.shape._replace(stride=cfg.stride))
    module: FitModule = instantiate(cfg.module, net=net)
    loggers: list[Logger] = [] if cfg.logger is None else [instantiate(cfg.logger, save_dir=str(folder))]
    trainer = _trainer(cfg, folder, device, loggers)
    data = FrameDataModule(source, cfg.stride, **cfg.data)  # last: reading takes longer than refusing a wrong rank

    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    _fit(trainer, module, data, folder)
    net.absorb(data.in_order())
    unquantised = {"psnr_unquantised": mean_psnr(net, source)} if cfg.unquantised else {}
    start = time.perf_counter()
    write_bytes(folder / "video.linr", codec.encode(net, learned_steps(trainer)))
    encode_seconds = time.perf_counter() - start
    _draw_curves(one_of(trainer, History).moments, folder / "training.png")

    dataset: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    result = {
        "model": cfg.preset,
        "rank": cfg.get("rank"),
        **provenance(cfg, source),
        **measure_apart(Wish(str(folder / "video.linr"), dataset, cfg.device, str(folder))),
        **unquantised,
        "fit_seconds": one_of(trainer, Budget).seconds,
        "epochs": trainer.current_epoch,
        "collapsed": any(isinstance(each, CollapseGuard) and each.collapsed for each in all_of(trainer)),
        **{f"estimated_{name}": value for name, value in module.notes.items()},
        "encode_seconds": encode_seconds,
        "seed": cfg.seed,
    }
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    shown = [folder / name for name in ("comparison.png", "strip.png")]
    log_result(loggers, result, [picture for picture in shown if picture.exists()])
    if not cfg.keep_checkpoints:
        _checkpoint(folder).unlink(missing_ok=True)
    print(f"{table(result)}\nlook at {folder}: comparison.png, decoded.mp4, training.png, result.json")
    return result


def _build(cfg: DictConfig, video: VideoShape) -> VideoRepresentation:
    """The model of the configuration, at the size that `params` asks for, if it does."""
    options: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if cfg.params is not None:
        options = {"name": options["name"], **sized(video=video, params=read_count(cfg.params), **options)}
    net = build(video=video, **options)
    return net.to(memory_format=torch.channels_last)


def _draw_curves(moments: Sequence[Moment], target: Path) -> None:
    seconds, psnrs, losses = ([getattr(each, name) for each in moments] for name in ("seconds", "psnr", "loss"))
    draw_training(seconds, psnrs, losses, target)


def mean_psnr(net: VideoRepresentation, source: VideoSource) -> float:
    """PSNR in dB of the seen frames as the network paints them before it is coded, their mean."""
    frames = zip(net.video.seen, net.eval().render(net.video.seen), strict=True)
    return fmean(
        float(psnr(float(mean_squares(frame[None], source.read(index)[None])), PEAK)) for index, frame in frames
    )


def learned_steps(trainer: L.Trainer) -> Mapping[str, Step]:
    """The grids that training has learned to encode with; none if it has learned none."""
    learned: dict[str, Step] = {}
    for callback in all_of(trainer):
        if isinstance(callback, Rounding):
            learned |= callback.steps()
    return learned


def table(result: dict[str, Any]) -> str:
    """The figures of a finished fit, one a line."""
    ms_ssim = "not defined at this size" if result["ms_ssim"] is None else f"{result['ms_ssim']:.4f}"
    rows = {
        **({"before coding": f"{result['psnr_unquantised']:.2f} dB"} if "psnr_unquantised" in result else {}),
        "PSNR": f"{result['psnr']:.2f} dB",
        "MS-SSIM": ms_ssim,
        "rate": f"{result['bpp']:.4f} bpp",
        "file": f"{result['bytes']:,} bytes",
        "fit": f"{result['fit_seconds']:.0f} s",
        "decoding": f"{result['decode_fps']:.0f} frames/s",
    }
    if "held_out" in result:
        rows["seen"] = f"{result['seen']['psnr']:.2f} dB"
        floors = {"held out": "psnr", "blend": "blend_true", "own blend": "blend_decoded", "nearest": "nearest"}
        rows |= {floor: f"{result['held_out'][name]:.2f} dB" for floor, name in floors.items()}
    return "\n".join(f"  {name:<14}{value:>24}" for name, value in rows.items())


def finished_result(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """The result of this very fit, if `folder` holds it; UserError if it holds another fit's beginning or end."""
    config, result = folder / "config.yaml", folder / "result.json"
    if not config.exists():
        return None
    before = _flat(OmegaConf.load(config))
    now = _flat(OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True)))
    names = [key for key in {**before, **now} if not key.startswith(NOT_THE_FIT)]
    changed = [key for key in names if before.get(key) != now.get(key)]
    if changed:
        listed = ", ".join(f"{key}: {before.get(key)} there, {now.get(key)} now" for key in changed[:3])
        raise UserError(f"run_dir={folder} holds a fit with other settings ({listed}); choose another run_dir")
    return json.loads(result.read_text()) if result.exists() else None


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """Every setting, dotted name -> value."""
    if not OmegaConf.is_dict(node):
        return {prefix: str(node)}
    return {name: value for key in node for name, value in _flat(node[key], f"{prefix}.{key}".strip(".")).items()}


def _trainer(cfg: DictConfig, folder: Path, device: torch.device, loggers: list[Logger]) -> L.Trainer:
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision="bf16-mixed" if fast_bfloat16(device) else "32-true",
        max_epochs=-1,  # the budget ends the fit
        logger=loggers,
        callbacks=[*callbacks, resume_checkpoint(str(folder))],
        default_root_dir=str(folder),
        **cfg.trainer,
    )


def _fit(trainer: L.Trainer, module: FitModule, data: FrameDataModule, folder: Path) -> None:
    """Fit, from the checkpoint in `folder` if there is one."""
    begun = _checkpoint(folder)
    try:
        trainer.fit(module, data, ckpt_path=begun if begun.exists() else None, weights_only=True)
    except SystemExit as stop:  # so Lightning ends on Ctrl-C
        raise InterruptedFitError(f"interrupted; the same command with run_dir={folder} goes on from there") from stop
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}; free some space and go on") from error


def _checkpoint(folder: Path) -> Path:
    return folder / f"{CHECKPOINT}.ckpt"


def _quiet() -> None:
    """Lightning's advice is for its developers; ours is in the progress line."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
