"""Whether a fit has reached what its kind reaches: frames better than one colour, latents near their teacher's view."""

from collections.abc import Iterable
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.data.module import FrameDataModule
from lightning_inr.metrics import PEAK, mean_squares, psnr
from lightning_inr.training.alignment import AlignmentModule
from lightning_inr.training.fit import FitModule

LOOKS = 8  # at frames, evenly spaced
LEAST_GAIN = 1.5  # dB above one colour: a mean squared error of 0.7 times
FLAT = 40.0  # dB: a video that one colour shows this well leaves nothing to gain
LEAST_COSINE = 0.8  # to the teacher; the weakest alignment on record that still finds its videos has 0.83


def why_unconverged(module: FitModule, data: FrameDataModule, views: Tensor | None, effort: str) -> str | None:
    """What a finished fit lacks, with figures and a remedy, or None; `views` (frames, S) are the teacher's.

    `effort` names what the fit has spent, as "95 steps in 5 s". The net has absorbed the frames it needs.
    """
    reached, floor = _psnr(module, data), _floor(data)
    if floor < FLAT and reached < floor + LEAST_GAIN:
        return (
            f"{reached:.1f} dB after {effort}, where the mean colour alone gives {floor:.1f} dB; "
            f"allow more steps, lower module.learning_rate={module.learning_rate:g}, or try another seed"
        )
    if not isinstance(module, AlignmentModule) or views is None or module.alignment_weight == 0:
        return None
    cosine = _cosine(module, views)
    if cosine >= LEAST_COSINE:
        return None
    return (
        f"mean cosine {cosine:.2f} of latents to the teacher after {effort}, below {LEAST_COSINE}; "
        f"allow more steps, or raise module.alignment_weight={module.alignment_weight:g}"
    )


def _rows(data: FrameDataModule) -> range:
    return range(0, len(data.frames), -(-len(data.frames) // LOOKS))


def _psnr(module: FitModule, data: FrameDataModule) -> float:
    """Mean PSNR in dB of some seen frames, as the network paints them before it is coded."""
    rows = _rows(data)
    painted = module.net.eval().render([data.frames.training_frames[row] for row in rows])
    return _mean_psnr((frame, data.frames.frame(row)) for frame, row in zip(painted, rows, strict=True))


def _floor(data: FrameDataModule) -> float:
    """Mean PSNR in dB of the same frames, painted in the video's mean colour."""
    colour = (data.mean_colour() * PEAK).round().to(torch.uint8)[:, None, None]
    frames = [data.frames.frame(row) for row in _rows(data)]
    return _mean_psnr((colour.expand_as(frame), frame) for frame in frames)


def _mean_psnr(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return fmean(float(psnr(float(mean_squares(ours[None], true[None])), PEAK)) for ours, true in pairs)


@torch.no_grad()
def _cosine(module: AlignmentModule, views: Tensor) -> float:
    """Mean cosine of the latents of all seen frames to the teacher's views of them."""
    seen = list(module.net.video.training_frames)
    index = torch.tensor(seen, dtype=torch.float32, device=module.net.device)
    return float(F.cosine_similarity(module.net.frame_embeddings(index), views[seen].to(index.device)).mean())
