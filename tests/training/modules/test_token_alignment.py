"""Alignment of latents to visual tokens, and the projector in the decoded file."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_inr.codec import Codec, decode, describe
from lightning_inr.errors import UserError
from lightning_inr.models import build
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.training.modules.token_alignment import TokenAlignmentModule
from lightning_inr.types import EmbeddingSpace, FrameBatch, FrameSampling, TokenSpace, VideoShape
from tests.conftest import SMALL, moving_square

VIDEO = VideoShape(6, 48, 64, 25.0)
SHOWING = FrameSampling(3, 32, 32, 0.1)
BY_FRAME = TokenSpace("tiny", "0123", 6, 3, 10, SHOWING)
WHOLE = TokenSpace("tiny", "0123", 4, 0, 10, SHOWING)
READS = EmbeddingSpace("clip", "4567", 12)


def target(space: TokenSpace) -> torch.Tensor:
    return torch.randn(space.tokens, space.width, generator=torch.Generator().manual_seed(1))


def learn(module: TokenAlignmentModule, steps: int = 60) -> None:
    """Train as a fit does, without a trainer."""
    batch = FrameBatch(torch.arange(6.0), moving_square().float() / 255)
    optimizer = torch.optim.Adam(module.net.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        terms = module.terms(module.net.training_outputs(batch.index, batch.frames), batch)
        sum(terms.values(), torch.zeros(())).backward()
        optimizer.step()
    module.net.store_embeddings([batch])


@pytest.mark.parametrize("space", [BY_FRAME, WHOLE], ids=["by frame", "whole"])
def test_the_tokens_of_the_file_are_near_the_teachers(space: TokenSpace) -> None:
    module = TokenAlignmentModule(build("latent_inr", VIDEO, **SMALL["latent_inr"]), token_weight=1.0)
    module.set_token_target(target(space), space)
    learn(module)
    codec = Codec(bits={"projector": 12, "latents": 12})
    data = codec.encode(module.net)
    decoded = decode(data)
    assert decoded.token_space == space
    assert F.cosine_similarity(decoded.visual_tokens(), target(space)).mean() > 0.9
    assert codec.encode(decoded) == data
    described = describe(data)
    assert described["token_space"]["showing"] == SHOWING._asdict()
    assert described["roles"]["projector"]["bytes"] > 0


def test_tokens_need_only_latents_and_projector() -> None:
    module = TokenAlignmentModule(build("latent_inr", VIDEO, **SMALL["latent_inr"]))
    module.set_token_target(target(BY_FRAME), BY_FRAME)
    data = Codec().encode(module.net)
    part = decode(data, roles=("latents", "projector"))
    assert torch.equal(part.visual_tokens(), decode(data).visual_tokens())
    assert isinstance(part, LatentINR)
    assert {parameter.device.type for parameter in part.encoding.parameters()} == {"meta"}


def test_latents_are_trained_through_a_fixed_projector() -> None:
    reader = nn.Linear(READS.width, 10)  # a token a frame
    space = BY_FRAME._replace(tokens=3)
    target_tokens = reader(F.normalize(torch.randn(3, READS.width), dim=1)).detach()
    net = build("latent_inr", VIDEO, READS, **SMALL["latent_inr"])
    module = TokenAlignmentModule(net, token_weight=1.0)
    module.set_token_target(target_tokens, space, reader)
    learn(module)
    assert F.cosine_similarity(module.predict_tokens(), target_tokens).mean() > 0.9
    with torch.autocast("cpu", torch.bfloat16):
        assert module.predict_tokens().dtype == torch.float32
    assert "projector" not in net.coded_groups()
    assert all(parameter.grad is None for parameter in reader.parameters())


def test_files_without_a_projector_are_errors() -> None:
    net = build("latent_inr", VIDEO, **SMALL["latent_inr"])
    with pytest.raises(UserError, match="no projector to a video language model; add one with task=align"):
        net.visual_tokens()
    with pytest.raises(UserError, match="token_weight=-1"):
        TokenAlignmentModule(net, token_weight=-1)
    foreign: Any = "much"
    with pytest.raises(UserError, match="cosine_weight=much"):
        TokenAlignmentModule(net, cosine_weight=foreign)
    with pytest.raises(UserError, match=r"embeddings of HNeRV come from frames .* task=align"):
        TokenAlignmentModule(build("hnerv", VIDEO, **SMALL["hnerv"]))
    with pytest.raises(UserError, match="NeRV has no latents"):
        build("nerv", VIDEO, **SMALL["nerv"]).attach_projector(WHOLE)
