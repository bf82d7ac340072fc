"""Checks that a fit converged: PSNR above that of one colour, latents close to the teacher embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.data.module import FrameDataModule
from lightning_inr.metrics import PEAK, mean_psnr_of_pairs
from lightning_inr.training.modules.alignment import AlignmentModule
from lightning_inr.training.modules.fit_module import FitModule

CHECKED_FRAMES = 8  # evenly spaced training frames at most, on which the PSNR is measured
LEAST_GAIN = 1.5  # dB above the PSNR of one colour: 0.7 times its mean squared error
FLAT = 40.0  # dB: a video for which one colour has this PSNR is not checked
LEAST_COSINE = 0.8  # to the teacher embeddings; the lowest value measured with working retrieval is 0.83


def why_unconverged(module: FitModule, data: FrameDataModule, embeddings: Tensor | None, effort: str) -> str | None:
    """Why a finished fit has not converged, with figures and a remedy; None if it has.

    `embeddings`: teacher embeddings of all frames, (frames, S), or None. `effort`: what the fit has spent, such as
    "95 steps in 5 s". Call `net.store_embeddings` before, as rendering needs the stored embeddings.
    """
    reached, floor = _psnr(module, data), _floor(data)
    if floor < FLAT and reached < floor + LEAST_GAIN:
        return (
            f"{reached:.1f} dB after {effort}, where the mean colour alone gives {floor:.1f} dB; "
            f"allow more steps, lower module.learning_rate={module.learning_rate:g}, or try another seed"
        )
    if not isinstance(module, AlignmentModule) or embeddings is None or module.alignment_weight == 0:
        return None
    cosine = _cosine(module, embeddings)
    if cosine >= LEAST_COSINE:
        return None
    return (
        f"mean cosine {cosine:.2f} of latents to the teacher embeddings after {effort}, below {LEAST_COSINE}; "
        f"allow more steps, or raise module.alignment_weight={module.alignment_weight:g}"
    )


def _rows(data: FrameDataModule) -> range:
    return range(0, len(data.frames), -(-len(data.frames) // CHECKED_FRAMES))


def _psnr(module: FitModule, data: FrameDataModule) -> float:
    """Mean PSNR in dB of some training frames, rendered with the weights before coding."""
    rows = _rows(data)
    rendered = module.net.eval().render([data.frames.training_frames[row] for row in rows])
    return mean_psnr_of_pairs((frame, data.frames.frame(row)) for frame, row in zip(rendered, rows, strict=True))


def _floor(data: FrameDataModule) -> float:
    """Mean PSNR in dB of the same frames if every pixel has the video's mean colour."""
    colour = (data.mean_colour() * PEAK).round().to(torch.uint8)[:, None, None]
    frames = [data.frames.frame(row) for row in _rows(data)]
    return mean_psnr_of_pairs((colour.expand_as(frame), frame) for frame in frames)


@torch.no_grad()
def _cosine(module: AlignmentModule, embeddings: Tensor) -> float:
    """Mean cosine of the frame embeddings of all training frames to the teacher embeddings."""
    numbers = list(module.net.video.training_frames)
    index = torch.tensor(numbers, dtype=torch.float32, device=module.net.device)
    return float(F.cosine_similarity(module.net.frame_embeddings(index), embeddings[numbers].to(index.device)).mean())
