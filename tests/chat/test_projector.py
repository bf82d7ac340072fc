"""Visual tokens of files, by their own projector or a shared one, and errors where there are none."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_inr.chat.projector import FILE_KIND, SharedProjector, load_shared, read_tokens, save_shared
from lightning_inr.codec import Codec, decode
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.nn.projector import projector_for
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import EmbeddingSpace, FrameSampling, TokenSpace, VideoShape
from tests.conftest import small_model

READS = EmbeddingSpace("clip", "4567", 12)
WRITES = TokenSpace("tiny", "0123", 6, 3, 10, FrameSampling(3, 32, 32, 0.1))


def llm(fingerprint: str = "0123", frames: int = 3, height: int = 32) -> VideoLLM:
    """A video language model with this frame sampling for any video."""
    space = WRITES._replace(tokens=2 * frames, groups=frames, sampling=FrameSampling(frames, height, 32, 0.1))
    return cast(VideoLLM, SimpleNamespace(name="tiny", fingerprint=fingerprint, token_space=lambda video: space))


def aligned(reads: EmbeddingSpace | None = READS, writes: TokenSpace | None = WRITES) -> VideoRepresentation:
    """A decoded file with an aligned embedding space and a projector."""
    net = small_model(video=VideoShape(5, 22, 30, 25.0))
    if reads is not None:
        net.align(reads)
    if writes is not None:
        net.attach_projector(writes)
    return decode(Codec(default_bits=16).encode(net))


def shared() -> SharedProjector:
    network = projector_for(READS.width, WRITES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    return SharedProjector(network, READS, WRITES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_shared(shared(), tmp_path / "shared.safetensors")
    return tmp_path / "shared.safetensors"


def test_a_file_has_its_own_projector() -> None:
    net = aligned()
    space, tokens = read_tokens(net, llm())
    assert space == WRITES
    assert torch.equal(tokens, net.visual_tokens())
    assert read_tokens(net, llm(frames=2))[0].sampling.frames == 3  # that of the file


def test_a_shared_projector_is_stored_as_float16(path: Path) -> None:
    first, found = shared(), load_shared(path)
    save_shared(first, path)
    found = load_shared(path)
    assert (found.embedding_space, found.token_space) == (READS, WRITES)
    latents = torch.nn.functional.normalize(torch.randn(3, 12), dim=1)
    assert torch.allclose(found.network(latents), first.network(latents), atol=0.01)
    numbers = sum(parameter.numel() for parameter in first.network.parameters())
    assert path.stat().st_size < 2 * numbers + 1000


def test_writing_a_shared_projector_fails_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "file" / "shared.safetensors", Path("/proc/shared.safetensors")):
        with pytest.raises(UserError, match="cannot write"):
            save_shared(shared(), target)


def test_a_shared_projector_reads_normalised_embeddings_of_any_aligned_file() -> None:
    one, net = shared(), aligned(writes=None)
    space, tokens = read_tokens(net, llm(), one)
    embeddings = torch.nn.functional.normalize(net.frame_embeddings(torch.tensor([0.0, 2.0, 4.0])), dim=1)
    assert torch.allclose(tokens, one.network(embeddings), atol=1e-5)
    space, tokens = read_tokens(net, llm(frames=5), one)
    assert (space.sampling.frames, tokens.shape) == (5, (10, 10))


@pytest.mark.parametrize(
    ("net", "backend", "use_shared", "message"),
    [
        ((READS, None), llm(), False, "aligned to no video language model; add projector=FILE"),
        ((READS, WRITES), llm("9999"), False, r"it was aligned to tiny \(0123\), and video_llm is tiny \(9999\)"),
        ((READS, None), llm("9999"), True, r"projector: it was aligned to tiny \(0123\)"),
        ((None, None), llm(), True, r"aligned to clip \(4567\), and the file is aligned to no teacher"),
        ((READS._replace(fingerprint="89"), None), llm(), True, r"the file is aligned to clip \(89\)"),
        ((READS, None), llm(height=64), True, "it was trained on 3 frames of 32x32.* gives 3 frames of 32x64"),
    ],
)
def test_mismatched_models_and_teachers_are_errors(net: Any, backend: VideoLLM, use_shared: bool, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_tokens(aligned(*net), backend, shared() if use_shared else None)
    assert "\n" not in str(error.value)


def write_metadata(path: Path, **changed: Any) -> None:
    """Write the same tensors with changed metadata."""
    metadata = {"kind": FILE_KIND, "reads": json.dumps(READS), "writes": json.dumps(WRITES)}
    save_file(load_file(path), path, {**metadata, **changed})


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "another"},
        {"reads": "no JSON"},
        {"reads": json.dumps(READS[:2])},
        {"reads": json.dumps(READS._replace(width=2**40))},
        {"reads": json.dumps(READS._replace(width=-1))},
        {"reads": json.dumps(READS._replace(teacher=cast(Any, None)))},
        {"writes": json.dumps(WRITES._replace(tokens=10**30))},
        {"writes": json.dumps(WRITES._replace(tokens=2**62))},
        {"writes": json.dumps(WRITES._replace(groups=-1))},
        {"writes": json.dumps(WRITES._replace(groups=cast(Any, "3")))},
        {"writes": json.dumps(WRITES._replace(sampling=cast(Any, 3)))},
        {"writes": "[" * 10**5},
    ],
)
def test_invalid_metadata_are_errors_of_one_line(path: Path, damage: dict[str, str]) -> None:
    write_metadata(path, **damage)
    with pytest.raises(UserError, match="damaged, or no projector") as error:
        load_shared(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "nan", "folder", "missing"])
def test_damaged_files_are_errors_of_one_line(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    if damage == "nan":
        tensors = load_file(path)
        tensors["shift"][0, 0] = torch.nan
        save_file(tensors, path)
        write_metadata(path)
    elif damage in ("folder", "missing"):
        path.unlink()
        if damage == "folder":
            path.mkdir()
    else:
        path.write_bytes({"cut": whole[:-1], "empty": b"", "noise": b"\xff" * 500}[damage])
    message = "no such file" if damage == "missing" else "damaged, or no projector"
    with pytest.raises(UserError, match=f"^projector={path}: {message}") as error:
        load_shared(path)
    assert "\n" not in str(error.value)
