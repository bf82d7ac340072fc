"""A fit in a run folder: the file, its figures and pictures; an interrupted fit is resumed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from lightning_inr.data.sources.source import OpenSource
from lightning_inr.devices import choose_device
from lightning_inr.errors import Terminated, UserError
from lightning_inr.paths import alone_in, write_bytes, write_text
from lightning_inr.pipelines.cluster.ray import RayOptions
from lightning_inr.pipelines.evaluation import EvaluationRequest, measure_in_new_process
from lightning_inr.pipelines.fitting import FitOptions, Fitted, Teachers, encode_fit, forget, prepare_fit, train
from lightning_inr.pipelines.provenance import Provenance, check_same_fit, to_yaml
from lightning_inr.pipelines.ranks import RankLostError, Ranks, ranks_of, run_ranks
from lightning_inr.pipelines.segmented_fit import (
    FittedSegments,
    SegmentCluster,
    check_segments,
    fit_segments,
    forget_segments,
)
from lightning_inr.progress import use_progress
from lightning_inr.report.figures import draw_training
from lightning_inr.training.callbacks.history import Moment
from lightning_inr.training.loggers import log_result


@dataclass(frozen=True)
class RunOptions:
    """Options of a fit in a run folder."""

    fit: FitOptions
    open_source: OpenSource
    load_teachers: Callable[[], Teachers]  # called only if a fit is needed
    make_loggers: Callable[[Path], list[Logger]]
    settings: Mapping[str, Any]  # the whole configuration; a folder that was started with another is refused
    provenance: Provenance
    labels: Mapping[str, Any]  # of the result: the model's preset, the rank
    keep_checkpoints: bool = False
    vmaf: bool = False
    segment_frames: int | None = None  # at most, with a network for each segment; None: one network for the whole video
    cluster: RayOptions | None = None  # that fits the segments; None: this process


def fit_into(folder: Path, options: RunOptions) -> dict[str, Any]:
    """Fit, write, decode and measure in `folder`, and return the figures of result.json.

    The result of a finished fit with the same options is returned unchanged. UserError if another process uses the
    folder, or if it holds a fit with other options. A fit on several devices runs in a process for each: in those that
    torchrun or SLURM started, of which only the first writes and returns figures, or in processes that start here.
    """
    ranks = ranks_of(options.fit.trainer, choose_device(options.fit.device))
    if options.segment_frames is not None and ranks.total > 1:
        raise UserError(
            f"segment_frames={options.segment_frames}: fits one segment at a time on one device; "
            "choose trainer.devices=1"
        )
    if ranks.own > 0:
        with use_progress("none"):
            return {} if finished_result(folder, options.settings) else _fit_into(folder, options)
    with alone_in(folder, "run_dir"):
        finished = finished_result(folder, options.settings)
        if finished is not None:
            if not options.keep_checkpoints:
                _forget_all(folder)  # may remain after a kill
            print(f"{folder} holds a finished fit of this configuration\n{figures_table(finished)}")
            return finished
        result = _fit_in_ranks(folder, options, ranks) if ranks.to_start else _fit_into(folder, options)
    if "unconverged" in result:
        print(f"not converged: {result['unconverged']}")
    print(f"{figures_table(result)}\nlook at {folder}: comparison.png, decoded.mp4, training.png, result.json")
    return result


def _fit_in_ranks(folder: Path, options: RunOptions, ranks: Ranks) -> dict[str, Any]:
    """`_fit_into` in processes that start here."""
    try:
        return run_ranks(ranks.devices, _fit_into, folder, options)
    except RankLostError as error:
        raise UserError(f"{error}; the same command with run_dir={folder} goes on from its last checkpoint") from error
    except (KeyboardInterrupt, Terminated) as stop:
        raise type(stop)(f"the same command with run_dir={folder} goes on from there") from stop


def _fit_into(folder: Path, options: RunOptions) -> dict[str, Any]:
    """Fit in this process, alone or as one of the ranks; those beside the first only take part in the training."""
    first = ranks_of(options.fit.trainer, choose_device(options.fit.device)).own == 0
    source = options.open_source().trim_to_stride(options.fit.stride)
    L.seed_everything(options.fit.seed, verbose=False)
    teachers = options.load_teachers() if first else Teachers()  # rank 0 asks them for all
    loggers = options.make_loggers(folder) if first else []
    fitted: Fitted | FittedSegments
    if options.segment_frames is not None:
        check_segments(options.fit, source, options.segment_frames)
        write_text(folder / "config.yaml", to_yaml(options.settings))
        cluster = None
        if options.cluster is not None:
            cluster = SegmentCluster(options.cluster, options.open_source, options.load_teachers)
        fitted = fit_segments(options.fit, source, options.segment_frames, folder, teachers, loggers, cluster)
    else:
        prepared = prepare_fit(options.fit, source, folder, teachers, loggers)
        del teachers  # frees their memory
        if first:
            write_text(folder / "config.yaml", to_yaml(options.settings))
        train(prepared, folder)
        if not first:
            return {}
        fitted = encode_fit(prepared, options.fit)
        write_bytes(folder / "video.linr", fitted.bitstream)
    return _measure(folder, options, fitted, source.matrix, loggers)


def _measure(
    folder: Path, options: RunOptions, fitted: Fitted | FittedSegments, matrix: str, loggers: list[Logger]
) -> dict[str, Any]:
    """Decode and measure the file in a new process, and write figures and pictures."""
    _draw_curves(fitted.moments, folder / "training.png")
    request = EvaluationRequest(
        str(folder / "video.linr"),
        options.open_source,
        options.fit.device,
        str(folder),
        teacher=fitted.teacher,
        tokens=fitted.tokens,
        vmaf=options.vmaf,
    )
    result = {
        **options.labels,
        **options.provenance.record(matrix),
        **measure_in_new_process(request),
        **fitted.figures,
        "seed": options.fit.seed,
    }
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    pictures = [folder / name for name in ("comparison.png", "strip.png")]
    log_result(loggers, result, [picture for picture in pictures if picture.exists()])
    if not options.keep_checkpoints:
        _forget_all(folder)
    return result


def _forget_all(folder: Path) -> None:
    """Remove the checkpoint and the segments of a fit that is done."""
    forget(folder)
    forget_segments(folder)


def _draw_curves(moments: Sequence[Moment], target: Path) -> None:
    seconds, psnrs, losses = ([getattr(each, name) for each in moments] for name in ("seconds", "psnr", "loss"))
    draw_training(seconds, psnrs, losses, target)


def figures_table(result: dict[str, Any]) -> str:
    """The figures of a finished fit, one per line."""
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
        rows["training frames"] = f"{result['seen']['psnr']:.2f} dB"
        baselines = {
            "held out": "psnr",
            "blend": "blend_true",
            "motion-compensated blend": "blend_motion",
            "own blend": "blend_decoded",
            "nearest": "nearest",
        }
        rows |= {baseline: f"{result['held_out'][name]:.2f} dB" for baseline, name in baselines.items()}
    if "alignment" in result:
        names = {"cos to teacher": "cos_seen", "between frames": "cos_held_out"}
        alignment = result["alignment"]
        rows |= {label: f"{alignment[name]:.4f}" for label, name in names.items() if name in alignment}
    if "tokens" in result:
        names = {"cos of tokens": "cosine", "the same, centred": "centred_cosine", "relative MSE": "relative_mse"}
        rows |= {label: f"{result['tokens'][name]:.4f}" for label, name in names.items()}
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}{value:>20}" for name, value in rows.items())


def finished_result(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result in `folder`; None if there is none, UserError if it has other settings or is damaged."""
    result = folder / "result.json"
    check_same_fit(folder, settings)
    if not result.exists():
        return None
    try:
        finished = json.loads(result.read_text())
        figures_table(finished)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{result} is damaged ({error!r}); remove it, and run again to resume or restart the fit"
        ) from error
    return finished
