"""The main job: fit a video, write it as one file, decode that file, measure it, show it."""

import json
import logging
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from lightning_inr import __version__
from lightning_inr.codec import Codec
from lightning_inr.data.module import FrameDataModule
from lightning_inr.devices import choose_device, fast_bfloat16
from lightning_inr.errors import UserError
from lightning_inr.models import build
from lightning_inr.paths import write_bytes, write_text
from lightning_inr.report.pictures import draw_training
from lightning_inr.tasks.evaluate import Wish, measure_apart
from lightning_inr.training.callbacks import CHECKPOINT, History, budget_of, one_of, resume_checkpoint
from lightning_inr.training.fit import FitModule


def run(cfg: DictConfig) -> dict[str, Any]:
    """Leave the run folder of the README behind; a run folder that was begun is gone on with."""
    folder = Path(cfg.run_dir)
    if finished := _claim(folder, cfg):
        print(f"{folder} holds a finished fit of this configuration\n{table(finished)}")
        return finished
    _quiet()
    L.seed_everything(cfg.seed, verbose=False)
    device = choose_device(cfg.device)
    codec: Codec = instantiate(cfg.codec)
    data = FrameDataModule(instantiate(cfg.dataset), **cfg.data)
    options = OmegaConf.to_container(cfg.model, resolve=True)
    net = build(video=data.shape, **options)  # type: ignore[arg-type]
    module: FitModule = instantiate(cfg.module, net=net.to(memory_format=torch.channels_last))
    loggers = _loggers(cfg, folder)
    trainer = _trainer(cfg, folder, device, codec, loggers)
    trainer.fit(module, data, ckpt_path=_begun(folder), weights_only=True)
    net.absorb(iter(data.train_dataloader()))

    start = time.perf_counter()
    write_bytes(folder / "video.linr", codec.encode(net))
    encode_seconds = time.perf_counter() - start
    moments = one_of(trainer, History).moments
    draw_training([m.seconds for m in moments], [m.psnr for m in moments], [m.loss for m in moments],
                  folder / "training.png")  # fmt: skip
    dataset = OmegaConf.to_container(cfg.dataset, resolve=True)
    measured = measure_apart(Wish(str(folder / "video.linr"), dataset, cfg.device, str(folder)))  # type: ignore[arg-type]
    result = {
        "model": cfg.preset,
        "dataset": dataset,
        **measured,
        "fit_seconds": budget_of(trainer).seconds,
        "epochs": trainer.current_epoch,
        "encode_seconds": encode_seconds,
        "seed": cfg.seed,
        "command": shlex.join(["python", "-m", "lightning_inr.run", *sys.argv[1:]]),
        "version": __version__,
    }
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    _log_result(loggers, result, folder)
    if not cfg.keep_checkpoints:
        (folder / f"{CHECKPOINT}.ckpt").unlink(missing_ok=True)
    print(f"{table(result)}\nlook at {folder}: comparison.png, decoded.mp4, training.png, result.json")
    return result


def table(result: dict[str, Any]) -> str:
    """The figures of a finished fit, one a line."""
    ms_ssim = "not defined at this size" if result["ms_ssim"] is None else f"{result['ms_ssim']:.4f}"
    rows = {
        "PSNR": f"{result['psnr']:.2f} dB",
        "MS-SSIM": ms_ssim,
        "rate": f"{result['bpp']:.4f} bpp",
        "file": f"{result['bytes']:,} bytes",
        "fit": f"{result['fit_seconds']:.0f} s",
        "decoding": f"{result['decode_fps']:.0f} frames/s",
    }
    return "\n".join(f"  {name:<9}{value:>24}" for name, value in rows.items())


def _claim(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """Write config.yaml, or check that what was begun here is this very fit; its result if it is finished."""
    text = OmegaConf.to_yaml(cfg, resolve=True)
    config = folder / "config.yaml"
    if not config.exists():
        write_text(config, text)
        return None
    if changed := _differences(OmegaConf.create(config.read_text()), OmegaConf.create(text)):
        raise UserError(f"run_dir={folder} holds a fit with other settings ({changed}); choose another run_dir")
    result = folder / "result.json"
    return json.loads(result.read_text()) if result.exists() else None


def _differences(old: Any, new: Any) -> str:
    """The first few keys in which two configurations differ."""
    before, after = _flat(old), _flat(new)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return ", ".join(f"{key}: {before.get(key)} there, {after.get(key)} now" for key in changed[:3])


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not OmegaConf.is_dict(node):
        return {prefix: str(node)}
    return {key: value for name in node for key, value in _flat(node[name], f"{prefix}.{name}".strip(".")).items()}


def _begun(folder: Path) -> Path | None:
    checkpoint = folder / f"{CHECKPOINT}.ckpt"
    return checkpoint if checkpoint.exists() else None


def _trainer(cfg: DictConfig, folder: Path, device: torch.device, codec: Codec, loggers: list[Logger]) -> L.Trainer:
    callbacks: list[Callback] = [instantiate(each) for name, each in cfg.callbacks.items() if each is not None]
    for callback in callbacks:
        if hasattr(callback, "codec"):
            callback.codec = codec
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision="bf16-mixed" if fast_bfloat16(device) else "32-true",
        max_epochs=-1,  # the budget ends the fit
        logger=loggers,
        callbacks=[*callbacks, resume_checkpoint(str(folder))],
        default_root_dir=str(folder),
        **cfg.trainer,
    )


def _loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    return [] if cfg.logger is None else [instantiate(cfg.logger, save_dir=str(folder))]


def _log_result(loggers: list[Logger], result: dict[str, Any], folder: Path) -> None:
    """The final row, and the pictures."""
    figures = {key: value for key, value in result.items() if isinstance(value, int | float)}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(figures)
            logger.log_image("comparison", [str(folder / "comparison.png")])
        else:
            logger.log_metrics({f"result/{key}": value for key, value in figures.items()})
        if isinstance(logger, TensorBoardLogger):
            import matplotlib.image

            logger.experiment.add_image("comparison", matplotlib.image.imread(folder / "comparison.png"),
                                        dataformats="HWC")  # fmt: skip
        logger.finalize("success")


def _quiet() -> None:
    """Lightning's advice is for its developers; ours is in the progress line."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
