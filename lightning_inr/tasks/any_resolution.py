"""One file at several sizes: how fast, and how good beside its resized native decode (Latent-INR, Fig. 4)."""

import json
import math
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import av
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from lightning_inr.codec import decode
from lightning_inr.data.source import VideoSource, resize
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import read_bytes, write_text
from lightning_inr.report.figures import draw_crops, draw_resolutions
from lightning_inr.tasks import fit
from lightning_inr.tasks.evaluate import frames_per_second
from lightning_inr.tasks.reference_codecs import decode_stream

PEER = Encoding("libx265", {"preset": "medium", "crf": "30", "x265-params": "log-level=none"})


class Job(NamedTuple):
    """What is measured at every size."""

    model: VideoRepresentation
    dataset: dict[str, Any]
    largest: tuple[int, int]  # height and width of the source as it comes: beyond it there is no truth
    numbers: range  # of the frames that are compared
    folder: Path  # for pictures


class AtSize(NamedTuple):
    """What one size gave; PSNRs are None where the source has no true frames of that size."""

    factor: float
    height: int
    width: int
    fps: float
    x265_fps: float | None  # of the decoder, for a stream of that size; None where x265 refuses it as too small
    psnr: float | None  # dB, painted at that size
    psnr_resized: float | None  # dB, the native decode resized: by area, bicubic


def run(cfg: DictConfig) -> None:
    """Measure `bitstream`, or the fit of this configuration, at every factor; any_resolution.json and pictures."""
    folder = Path(cfg.run_dir)
    if cfg.bitstream is None:
        fit.run(cfg)
    path = Path(cfg.bitstream or folder / "video.linr")
    model = decode(read_bytes(path, "bitstream"), choose_device(cfg.device))
    dataset: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    numbers = range(0, model.video.frames, -(-model.video.frames // cfg.frames))
    largest: VideoSource = instantiate(dataset | {"height": None, "width": None})
    job = Job(model, dataset, (largest.height, largest.width), numbers, folder)
    rows = [at_size(job, factor) for factor in tqdm(cfg.factors, "sizes", leave=False)]
    write_text(folder / "any_resolution.json", json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    speeds = {"this file": [row.fps for row in rows], "x265 medium": [row.x265_fps or math.nan for row in rows]}
    draw_resolutions([row.height for row in rows], speeds, folder / "any_resolution.png")
    _print_table(rows)


def _print_table(rows: list[AtSize]) -> None:
    print("  factor       size  frames/s  x265 frames/s  PSNR painted  PSNR resized")
    for row in rows:
        painted, resized = (f"{value:10.2f} dB" if value else f"{'-':>13}" for value in row[-2:])
        size, peer = f"{row.height}x{row.width}", f"{row.x265_fps:.0f}" if row.x265_fps else "-"
        print(f"  {row.factor:6g} {size:>10} {row.fps:9.0f} {peer:>14} {painted} {resized}")


def at_size(job: Job, factor: float) -> AtSize:
    """Speed at `factor` times the native size, and quality over the job's frames where there is a truth."""
    model, numbers, video = job.model, job.numbers, job.model.video
    size = (max(1, round(video.height * factor)), max(1, round(video.width * factor)))
    source: VideoSource = instantiate(job.dataset | {"height": size[0], "width": size[1]})
    if source.frames < video.frames:
        raise UserError(f"the file holds {video.frames} frames, the dataset {source.frames}; give the file's source")
    true = [source.read(number) for number in numbers]
    quality: list[float | None] = [None, None]
    if job.largest[0] >= size[0] and job.largest[1] >= size[1]:
        painted = list(model.render(numbers, size))
        resized = [resize(frame, size) for frame in model.render(numbers)]
        quality = [_psnr(painted, true), _psnr(resized, true)]
        if factor > 1:
            shown = {"true": true[0], "painted": painted[0], "bicubic": resized[0]}
            draw_crops(shown, job.folder / f"crop_{factor:g}x.png")
    fps = frames_per_second(lambda: model.render(range(len(true)), size), len(true))
    return AtSize(factor, *size, fps, _peer_speed(true, video.fps), *quality)


def _peer_speed(frames: list[Tensor], fps: float) -> float | None:
    with TemporaryDirectory() as folder:
        stream = Path(folder) / "peer.hevc"
        try:
            encode_video(frames, stream, fps, PEER)
        except av.FFmpegError:
            return None
        return frames_per_second(lambda: decode_stream(stream), len(frames))


def _psnr(frames: list[Tensor], true: list[Tensor]) -> float:
    return fmean(float(psnr(float(mean_squares(a[None], b[None])), PEAK)) for a, b in zip(frames, true, strict=True))
