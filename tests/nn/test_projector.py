"""Both projectors: the latents that each token depends on, their size, and the least-squares initialisation."""

import pytest
import torch

from lightning_inr.losses import relative_mse
from lightning_inr.nn.projector import FixedTokens, FrameTokens, Projector, projector_for, token_layout
from lightning_inr.types import FrameSampling, TokenSpace

DIM = 12


def space(tokens: int, groups: int, frames: int = 6, width: int = 10) -> TokenSpace:
    return TokenSpace("tiny", "0123", tokens, groups, width, FrameSampling(frames, 32, 32, 0.1))


SPACES = [space(4, 0), space(6, 0), space(18, 6), space(12, 3)]
NAMES = ["whole clip", "a token a latent", "by frame", "by two frames"]


def drawn(wanted: TokenSpace) -> Projector:
    """A projector with random weights."""
    projector = projector_for(DIM, wanted)
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.normal_(std=0.5)
    return projector


@pytest.mark.parametrize("wanted", SPACES, ids=NAMES)
def test_one_video_or_a_batch(wanted: TokenSpace) -> None:
    projector, latents = drawn(wanted), torch.randn(3, 6, DIM)
    many = projector(latents)
    assert many.shape == (3, wanted.tokens, wanted.width)
    assert torch.allclose(projector(latents[1]), many[1], atol=1e-5)
    many.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in projector.parameters())


@pytest.mark.parametrize("wanted", SPACES, ids=NAMES)
def test_least_squares_initialisation_is_close_to_the_target(wanted: TokenSpace) -> None:
    true, latents = drawn(wanted), torch.randn(200, 6, DIM)
    tokens = true(latents).detach()
    projector = projector_for(DIM, wanted)
    projector.init_least_squares(latents[:160], tokens[:160])
    assert relative_mse(projector(latents[160:]), tokens[160:]) < 0.3


@pytest.mark.parametrize("wanted", SPACES, ids=NAMES)
def test_a_projector_on_meta_takes_no_memory(wanted: TokenSpace) -> None:
    with torch.device("meta"):
        projector = projector_for(DIM, wanted)
    assert {tensor.device.type for tensor in projector.state_dict().values()} == {"meta"}
    assert projector.state_dict().keys() == drawn(wanted).state_dict().keys()


def test_tokens_of_a_frame_depend_on_that_frame_only() -> None:
    projector, latents = drawn(space(12, 3)), torch.randn(6, DIM)
    assert isinstance(projector, FrameTokens)
    changed = latents.clone()
    changed[3] += 1
    differs = (projector(latents) - projector(changed)).abs().amax(1) > 1e-6
    assert differs.tolist() == [False] * 4 + [True] * 4 + [False] * 4
    assert torch.allclose(projector(latents[:2]), projector(latents)[:4], atol=1e-6)
    assert token_layout(space(12, 3)) == token_layout(space(8, 2, frames=4))


def test_equal_numbers_of_latents_and_tokens_are_not_mixed() -> None:
    projector, latents = drawn(space(6, 0)), torch.randn(6, DIM)
    assert isinstance(projector, FixedTokens)
    changed = latents.clone()
    changed[3] += 1
    differs = (projector(latents) - projector(changed)).abs().amax(1) > 1e-6
    assert differs.tolist() == [False, False, False, True, False, False]


def test_a_slot_adds_two_vectors_and_no_matrix() -> None:
    few, many = (projector_for(512, space(8 * slots, 8, frames=8, width=3584)) for slots in (1, 196))
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (few, many)]
    assert sizes[1] - sizes[0] == 195 * 2 * 512
    assert sizes[1] < 2.1e6  # a map of each slot's own: 360 million


def test_unequal_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="7 tokens of 6 frames in 3 groups"):
        projector_for(DIM, space(7, 3))
