"""The main job: fit a video, write it as one file, decode that file, measure it, show it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from lightning_inr.data.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.paths import alone_in, write_bytes, write_text
from lightning_inr.report.figures import draw_training
from lightning_inr.tasks.evaluate import EvaluationRequest, measure_apart
from lightning_inr.tasks.fitting import fit_video, forget, load_teachers, prepare
from lightning_inr.tasks.provenance import load_config, provenance
from lightning_inr.training.callbacks import Moment
from lightning_inr.training.loggers import log_result

# Settings that may differ when a fit is gone on with: they do not change what is fitted.
NOT_THE_FIT = (
    "task", "run_dir", "device", "gpus", "logger", "trainer", "keep_checkpoints", "feature_cache", "progress_bar",
    "callbacks.history", "callbacks.previews", "threads", "collection", "shard", "attempts", "retrieval",
    "answers", "questions", "bitstream", "dtype", "vmaf", "limits", "teacher.device", "video_llm.device",
)  # fmt: skip


def run(cfg: DictConfig) -> dict[str, Any]:
    """Leave the run folder of the README behind; a run folder that was begun is gone on with."""
    with alone_in(Path(cfg.run_dir), "run_dir"):
        return fit_into(Path(cfg.run_dir), cfg)


def fit_into(folder: Path, cfg: DictConfig) -> dict[str, Any]:
    """The same, in a folder that no other process works in."""
    if finished := finished_result(folder, cfg):
        if not cfg.keep_checkpoints:
            forget(folder)  # which a kill may have left
        print(f"{folder} holds a finished fit of this configuration\n{table(finished)}")
        return finished
    source: VideoSource = instantiate(cfg.dataset)
    source = source.trim_to_stride(cfg.stride)
    L.seed_everything(cfg.seed, verbose=False)
    teachers = load_teachers(cfg)
    loggers: list[Logger] = [] if cfg.logger is None else [instantiate(cfg.logger, save_dir=str(folder))]
    prepared = prepare(cfg, source, folder, teachers, loggers)
    del teachers  # and the memory a large one takes
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    fitted = fit_video(prepared, cfg, folder)
    if not fitted.figures["converged"]:
        print(f"not converged: {fitted.figures['unconverged']}")
    write_bytes(folder / "video.linr", fitted.bitstream)
    _draw_curves(fitted.moments, folder / "training.png")

    dataset: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    request = EvaluationRequest(
        str(folder / "video.linr"),
        dataset,
        cfg.device,
        str(folder),
        teacher=fitted.teacher,
        tokens=fitted.tokens,
        vmaf=cfg.vmaf,
    )
    result = {
        "model": cfg.preset,
        "rank": cfg.get("rank"),
        **provenance(cfg, source.matrix),
        **measure_apart(request),
        **fitted.figures,
        "seed": cfg.seed,
    }
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    shown = [folder / name for name in ("comparison.png", "strip.png")]
    log_result(loggers, result, [picture for picture in shown if picture.exists()])
    if not cfg.keep_checkpoints:
        forget(folder)
    print(f"{table(result)}\nlook at {folder}: comparison.png, decoded.mp4, training.png, result.json")
    return result


def _draw_curves(moments: Sequence[Moment], target: Path) -> None:
    seconds, psnrs, losses = ([getattr(each, name) for each in moments] for name in ("seconds", "psnr", "loss"))
    draw_training(seconds, psnrs, losses, target)


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
    if "alignment" in result:
        names = {"cos to teacher": "cos_seen", "between frames": "cos_held_out"}
        angles = result["alignment"]
        rows |= {shown: f"{angles[name]:.4f}" for shown, name in names.items() if name in angles}
    if "tokens" in result:
        names = {"cos of tokens": "cosine", "the same, centred": "centred_cosine", "relative MSE": "relative_mse"}
        rows |= {shown: f"{result['tokens'][name]:.4f}" for shown, name in names.items()}
    return "\n".join(f"  {name:<18}{value:>20}" for name, value in rows.items())


def finished_result(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """The result of this very fit, if `folder` holds it; UserError if it holds another fit's beginning or end."""
    result = folder / "result.json"
    check_same_fit(folder, cfg)
    if not result.exists():
        return None
    try:
        finished = json.loads(result.read_text())
        table(finished)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{result} is damaged ({error!r}); remove it, and the fit goes on or begins anew") from error
    return finished


def check_same_fit(folder: Path, cfg: DictConfig, besides: tuple[str, ...] = ()) -> None:
    """UserError if `folder` holds what was begun with other settings; those that begin with `besides` may differ."""
    options = load_config(folder / "config.yaml")
    if options is None:
        return
    before = _flat(options)
    now = _flat(OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True))))
    names = [key for key in {**before, **now} if not key.startswith((*NOT_THE_FIT, *besides))]
    changed = [key for key in names if before.get(key) != now.get(key)]
    if changed:
        listed = ", ".join(f"{key}: {before.get(key)} there, {now.get(key)} now" for key in changed[:3])
        raise UserError(f"run_dir={folder} holds a fit with other settings ({listed}); choose another run_dir")


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """Every setting, dotted name -> value."""
    if not isinstance(node, dict):
        return {prefix: str(node)}
    return {name: value for key in node for name, value in _flat(node[key], f"{prefix}.{key}".strip(".")).items()}
