"""Alignment of latents to a teacher, and frame embeddings of the decoded file."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lightning_inr.codec import Codec, decode, describe
from lightning_inr.data.module import Frames
from lightning_inr.data.sources.images import ImageFolder
from lightning_inr.errors import UserError
from lightning_inr.models import build
from lightning_inr.models.latent_inr import LatentINR
from lightning_inr.training.modules.alignment import AlignmentModule
from lightning_inr.types import EmbeddingSpace, FrameBatch, VideoShape
from tests.conftest import SMALL, moving_square

SPACE = EmbeddingSpace("tiny", "0123", 12)
VIDEO = VideoShape(6, 48, 64, 25.0)
TURN = torch.linspace(0, 1.5, 6)  # along an arc, as embeddings of consecutive frames
EMBEDDINGS = F.pad(torch.stack([TURN.cos(), TURN.sin()], dim=1), (5, 5))


@pytest.mark.parametrize("name", ["latent_inr", "hnerv", "t_nerv"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_only_an_aligned_file_has_frame_embeddings_near_the_teachers(name: str, weight: float) -> None:
    net = build(name, VIDEO, SPACE, **SMALL[name])
    module = AlignmentModule(net, alignment_weight=weight)
    batch = FrameBatch(torch.arange(6.0), moving_square().float() / 255, teacher=EMBEDDINGS)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        terms = module.terms(net.training_outputs(batch.index, batch.frames), batch)
        sum(terms.values(), torch.zeros(())).backward()
        optimizer.step()
    net.store_embeddings([batch])
    data = Codec().encode(net)
    decoded = decode(data)
    angle = F.cosine_similarity(decoded.frame_embeddings(torch.arange(6.0)), EMBEDDINGS).mean()
    assert angle > 0.8 if weight else angle < 0.6
    assert decoded.embedding_space == SPACE
    assert describe(data)["space"] == SPACE._asdict()
    assert describe(data)["roles"]["semantic"]["params"] == decoded.pool_latents(torch.zeros(1)).shape[1] * 12 + 12


def test_a_latent_as_wide_as_the_embedding_is_aligned_without_a_head() -> None:
    net = build("latent_inr", VIDEO, SPACE._replace(width=8), **SMALL["latent_inr"])
    assert net.semantic_head is None
    assert "semantic" not in net.coded_groups()
    assert torch.equal(net.frame_embeddings(torch.tensor([2.0])), net.latent(torch.tensor([2.0])))


def test_embeddings_between_frames_are_interpolated() -> None:
    net = build("latent_inr", VIDEO._replace(stride=2, frames=5), SPACE, **SMALL["latent_inr"])
    before, between, after = net.frame_embeddings(torch.tensor([2.0, 3.0, 4.0]))
    assert torch.allclose(between, (before + after) / 2, atol=1e-6)


def test_only_requested_roles_are_decoded() -> None:
    net = build("latent_inr", VIDEO, SPACE, **SMALL["latent_inr"])
    data = Codec().encode(net)
    part = decode(data, roles=("latents", "semantic"))
    assert torch.equal(part.frame_embeddings(torch.arange(6.0)), decode(data).frame_embeddings(torch.arange(6.0)))
    assert isinstance(part, LatentINR)
    assert {parameter.device.type for parameter in part.encoding.parameters()} == {"meta"}


def test_unaligned_models_are_errors() -> None:
    with pytest.raises(UserError, match="NeRV has no latents"):
        build("nerv", VIDEO, SPACE, **SMALL["nerv"])
    with pytest.raises(UserError, match="no teacher has aligned this model; fit it with module=alignment"):
        build("latent_inr", VIDEO, **SMALL["latent_inr"]).frame_embeddings(torch.zeros(1))
    net = build("latent_inr", VIDEO, SPACE, **SMALL["latent_inr"])
    with pytest.raises(UserError, match="alignment_weight=-1"):
        AlignmentModule(net, alignment_weight=-1)
    batch = FrameBatch(torch.zeros(1), moving_square()[:1].float() / 255)
    with pytest.raises(UserError, match="nothing to align to; add teacher=clip"):
        AlignmentModule(net).terms(net.training_outputs(batch.index, batch.frames), batch)


def test_blended_frames_have_blended_teacher_embeddings(images: Path) -> None:
    frames = Frames(ImageFolder(images), range(6), blend_probability=0.999)
    frames.teacher = torch.arange(6.0)[:, None].repeat(1, 3)
    batch = frames.__getitems__([1, 4])
    assert batch.teacher is not None
    assert torch.allclose(batch.teacher[:, 0], batch.index)
