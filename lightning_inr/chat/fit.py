"""Training a projector alone, for latents that exist: of one file, or of many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lightning_inr.codec import Codec, decode
from lightning_inr.codec.container import Container, pack, unpack
from lightning_inr.errors import UserError
from lightning_inr.losses import token_loss
from lightning_inr.nn.projector import Projector
from lightning_inr.types import TokenSpace


@dataclass(frozen=True)
class Fitting:
    """How a projector is trained; UserError for numbers that make no sense."""

    steps: int = 500
    learning_rate: float = 0.003  # as a share of each tensor's own size; falls to 0
    cosine_weight: float = 0.5
    batch: int = 8  # videos a step
    noise: float = 0.1  # added to latents of length 1: tangent of the angle by which they are turned

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"align.{name}={value}: choose a whole number from {least}")
        for name in ("learning_rate", "cosine_weight", "noise"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise UserError(f"align.{name}={value}: choose a number from 0")


def fit_file(
    data: bytes, space: TokenSpace, tokens: Tensor, codec: Codec, fitting: Fitting, device: torch.device, seed: int = 0
) -> bytes:
    """The file `data` with a projector fitted to its latents, that says `tokens` (K, d) in `space`.

    Whatever else is in the file stays as it is, byte for byte; `codec` is asked for the projector alone.
    """
    model = decode(data, device)
    model.attach_projector(space)
    assert model.projector is not None
    model.projector.to(device)
    with torch.no_grad():
        latents = model.pool_latents(model.sample_positions(space.sampling.frames)).float().cpu()
    fit_projector(model.projector, [latents], [tokens], replace(fitting, noise=0.0), seed)
    old, new = unpack(data), unpack(codec.encode(model))
    role = "projector"
    kept = [entry for entry in old.header["tensors"] if entry[1] != role]
    added = [entry for entry in new.header["tensors"] if entry[1] == role]
    header = old.header | {"token_space": new.header["token_space"], "tensors": kept + added}
    return pack(Container(header, old.sections | {role: new.sections[role]}))


def fit_projector(
    projector: Projector, latents: Sequence[Tensor], tokens: Sequence[Tensor], fitting: Fitting, seed: int = 0
) -> None:
    """Fit `projector` to one video or many, latents (N, D) and tokens (K, d) of each, from least squares on.

    Noise is for a projector that will read latents it has not seen: it must not trust them to the last digit.
    """
    device = projector.linear.weight.device
    generator, random = torch.Generator().manual_seed(seed), Random(seed)

    def drawn(places: Sequence[int]) -> tuple[Tensor, Tensor]:
        shaken = [_shaken(latents[place], fitting.noise, generator) for place in places]
        gathered = projector.gather(shaken, [tokens[place] for place in places])
        return gathered[0].to(device), gathered[1].to(device)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        projector.begin(*drawn(range(len(latents))))
    optimizer = torch.optim.Adam(
        [{"params": [tensor], "lr": fitting.learning_rate * _size(tensor)} for tensor in projector.parameters()]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, fitting.steps))
    with tqdm(range(fitting.steps), "projector", leave=False, unit="step") as bar:
        for _ in bar:
            seen, said = drawn(random.sample(range(len(latents)), min(fitting.batch, len(latents))))
            ours = projector(seen)
            loss = token_loss(ours, said, fitting.cosine_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            near = F.cosine_similarity(ours.detach(), said, dim=-1).mean()
            bar.set_postfix_str(f"loss {float(loss.detach()):.4f}, cosine {float(near):.3f}", refresh=False)


def _shaken(latents: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    if not noise:
        return latents
    return latents + noise * latents.shape[-1] ** -0.5 * torch.randn(latents.shape, generator=generator)


def _size(tensor: Tensor) -> float:
    """Root of the mean square; that of a tensor of zeros, which must be able to leave them, is small."""
    return max(1e-8, float(tensor.detach().square().mean().sqrt()))
