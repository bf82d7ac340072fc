"""Training of a projector on fixed latents."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_inr.chat.fit import ProjectorFit, fit_projector
from lightning_inr.errors import UserError
from lightning_inr.losses import token_loss
from lightning_inr.nn.projector import Projector, projector_for
from lightning_inr.types import FrameSampling, TokenSpace

SPACE = TokenSpace("tiny", "0123", 9, 3, 24, FrameSampling(3, 32, 32, 0.1))
WHOLE = SPACE._replace(tokens=5, groups=0)


def videos(space: TokenSpace, count: int = 4) -> tuple[list[Tensor], list[Tensor]]:
    """Independent random latents and tokens, for which least squares is not yet optimal."""
    return list(torch.randn(count, 3, 8)), list(5 * torch.randn(count, space.tokens, space.width) + 3)


def distance(projector: Projector, latents: list[Tensor], tokens: list[Tensor]) -> float:
    inputs, target = projector.gather(latents, tokens)
    return float(token_loss(projector(inputs), target, 0.5).detach())


@pytest.mark.parametrize("space", [SPACE, WHOLE], ids=["by frame", "whole"])
def test_steps_improve_on_least_squares(space: TokenSpace) -> None:
    latents, tokens = videos(space)
    found = []
    for steps in (0, 200):
        projector = projector_for(8, space)
        fit_projector(projector, latents, tokens, ProjectorFit(steps, batch=4, noise=0))
        found.append(distance(projector, latents, tokens))
    assert found[1] < 0.99 * found[0]


def test_videos_of_different_lengths_share_a_projector() -> None:
    latents, tokens = videos(SPACE)
    latents[1], tokens[1] = latents[1][:2], tokens[1][:6]
    projector = projector_for(8, SPACE)
    fit_projector(projector, latents, tokens, ProjectorFit(5, batch=2))
    assert projector(latents[1]).shape == (6, 24)


def test_the_seed_decides() -> None:
    latents, tokens = videos(SPACE)
    found = []
    for seed in (0, 0, 1):
        torch.rand(seed + 1)  # whatever was drawn before
        projector = projector_for(8, SPACE)
        with torch.no_grad():
            projector.linear.weight.zero_()
        fit_projector(projector, latents, tokens, ProjectorFit(3, batch=2), seed)
        found.append(projector(latents[0]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_training_with_noise_reduces_its_effect() -> None:
    """The first number of a latent determines the tokens; the others are small noise that a fit must not use."""
    torch.manual_seed(1)
    true = torch.randn(40, 3, 1)
    latents = list(torch.cat([true, 0.001 * torch.randn(40, 3, 7)], dim=2))
    tokens = list(true.repeat_interleave(3, 1) * torch.randn(24) + 0.1 * torch.randn(40, 9, 24))
    noisy = [latent + 0.1 * torch.randn(3, 8) for latent in latents]
    found = []
    for noise in (0.0, 0.3):
        projector = projector_for(8, SPACE)
        fit_projector(projector, latents, tokens, ProjectorFit(50, batch=40, noise=noise))
        found.append(distance(projector, noisy, tokens))
    assert found[1] < 0.7 * found[0]


@pytest.mark.parametrize(("name", "value"), [("steps", -1), ("steps", 1.5), ("batch", 0), ("noise", "much")])
def test_wrong_numbers_are_named(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{name}={value} of the projector's fit: choose"):
        ProjectorFit(**{name: value})
