"""Trains a projector on the fixed latents of one file or of many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.codec import Codec, decode
from lightning_inr.codec.container import Container, pack, unpack
from lightning_inr.errors import UserError
from lightning_inr.losses import token_loss
from lightning_inr.nn.projector import Projector
from lightning_inr.progress import ProgressBar
from lightning_inr.types import TokenSpace


@dataclass(frozen=True)
class ProjectorFit:
    """Options of the training of a projector; UserError for values out of range."""

    steps: int = 500
    learning_rate: float = 0.003  # as a share of each tensor's root mean square; falls to 0 along a cosine
    cosine_weight: float = 0.5  # lambda of Latent-INR, Eq. 7: weight of the cosine distance
    batch: int = 8  # videos per step
    noise: float = 0.1  # RMS length of Gaussian noise added to latents of length 1: tangent of their rotation

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"{name}={value} of the projector's fit: choose a whole number from {least}")
        for name in ("learning_rate", "cosine_weight", "noise"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise UserError(f"{name}={value} of the projector's fit: choose a number from 0")


def fit_file(
    data: bytes,
    space: TokenSpace,
    tokens: Tensor,
    codec: Codec,
    options: ProjectorFit,
    device: torch.device,
    seed: int = 0,
) -> bytes:
    """The file `data` with a projector, fitted to map its latents to the visual tokens `tokens` (K, d) of `space`.

    All other tensors of the file are kept byte for byte; `codec` encodes the projector alone.
    """
    model = decode(data, device)
    model.attach_projector(space)
    assert model.projector is not None
    model.projector.to(device)
    with torch.no_grad():
        latents = model.pool_latents(model.sample_positions(space.sampling.frames)).float().cpu()
    fit_projector(model.projector, [latents], [tokens], replace(options, noise=0.0), seed)
    old, new = unpack(data), unpack(codec.encode(model))
    role = "projector"
    kept = [entry for entry in old.header["tensors"] if entry[1] != role]
    added = [entry for entry in new.header["tensors"] if entry[1] == role]
    header = old.header | {"token_space": new.header["token_space"], "tensors": kept + added}
    return pack(Container(header, old.sections | {role: new.sections[role]}))


def fit_projector(
    projector: Projector, latents: Sequence[Tensor], tokens: Sequence[Tensor], options: ProjectorFit, seed: int = 0
) -> None:
    """Fit `projector` to latents (N, D) and visual tokens (K, d) of one or more videos; initialised by least squares.

    `fitting.noise` regularises a projector that is applied to latents of other videos later.
    """
    device = projector.linear.weight.device
    generator, random = torch.Generator().manual_seed(seed), Random(seed)

    def noisy_batch(numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        noisy = [_add_noise(latents[number], options.noise, generator) for number in numbers]
        gathered = projector.gather(noisy, [tokens[number] for number in numbers])
        return gathered[0].to(device), gathered[1].to(device)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        projector.init_least_squares(*noisy_batch(range(len(latents))))
    optimizer = torch.optim.Adam(
        [{"params": [tensor], "lr": options.learning_rate * _rms(tensor)} for tensor in projector.parameters()]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, options.steps))
    with ProgressBar(range(options.steps), "projector", leave=False, unit="step") as bar:
        for _ in bar:
            inputs, target = noisy_batch(random.sample(range(len(latents)), min(options.batch, len(latents))))
            predicted = projector(inputs)
            loss = token_loss(predicted, target, options.cosine_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            cosine = F.cosine_similarity(predicted.detach(), target, dim=-1).mean()
            bar.set_postfix_str(f"loss {float(loss.detach()):.4f}, cosine {float(cosine):.3f}", refresh=False)


def _add_noise(latents: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    if not noise:
        return latents
    return latents + noise * latents.shape[-1] ** -0.5 * torch.randn(latents.shape, generator=generator)


def _rms(tensor: Tensor) -> float:
    """Root mean square, at least 1e-8: a tensor of zeros also needs a learning rate above zero."""
    return max(1e-8, float(tensor.detach().square().mean().sqrt()))
