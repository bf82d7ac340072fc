"""Training of projectors on fitted latents: for a file, and shared by a collection."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_inr.chat.projector import load_shared, read_tokens
from lightning_inr.codec import Codec, decode, describe
from lightning_inr.codec.container import unpack
from lightning_inr.pipelines.chat_backend import TOKEN_ROLES
from lightning_inr.retrieval.gallery import read_model
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import VideoShape
from tests.conftest import Outcome, small_model
from tests.tasks.conftest import in_memory

Cli = Callable[..., Outcome]
TINY = ["video_llm=llava_onevision", "video_llm.model=tiny", "video_llm.frames=3", "feature_cache=features"]
FILE = ["task=align", "bitstream=video.linr", "dataset=file", "dataset.path=images", "out=aligned.linr", *TINY]
SHARE = ["task=align", "out=shared.safetensors", "held_out=0.5", "align.steps=20", *TINY]


@pytest.fixture
def file(images: Path, llm: VideoLLM) -> Path:
    """A file of the six images, coded with another codec than the task's."""
    path = images.parent / "video.linr"
    path.write_bytes(Codec(bits={"latents": 9, "hyper": 5}).encode(small_model(video=VideoShape(6, 48, 64, 25.0))))
    return path


def figures(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_a_projector_is_added_and_other_bytes_are_kept(cli: Cli, file: Path, llm: VideoLLM) -> None:
    silent = file.read_bytes()
    found = figures(cli(*FILE, "align.steps=30"))
    aligned = Path("aligned.linr").read_bytes()
    assert (found["bytes_before"], found["bytes"]) == (len(silent), len(aligned))
    assert found["cosine"] > 0.9
    assert found["relative_mse"] < 0.5
    before, after = unpack(silent).sections, unpack(aligned).sections
    assert after.pop("projector")
    assert after == before
    assert describe(aligned)["roles"]["projector"]["bytes"] > len(aligned) - len(silent) - 500  # the header's part
    model = decode(aligned)
    assert model.token_space == llm.token_space(model.video)
    alone = read_model(Path("aligned.linr"), TOKEN_ROLES)  # not enough roles to render a frame
    assert np.allclose(read_tokens(alone, llm)[1], read_tokens(model, llm)[1], atol=1e-5)

    again = cli(*FILE, "bitstream=aligned.linr", "align.steps=0", "out=again.linr")  # replaces the one it has
    assert figures(again)["cosine"] > 0.9
    assert len(unpack(Path("again.linr").read_bytes()).header["tensors"]) == len(unpack(aligned).header["tensors"])


def test_a_shared_projector_is_tested_on_held_out_videos(cli: Cli, collection: Path, llm: VideoLLM) -> None:
    found = figures(cli(*SHARE, "collection=collection"))
    assert (found["videos"], found["held_out"]["videos"]) == (2, 2)
    assert found["relative_mse"] < 0.5 * found["floor"]["relative_mse"]
    assert found["bytes"] == Path("shared.safetensors").stat().st_size
    shared = load_shared("shared.safetensors")
    model = read_model(collection / "video0.linr", TOKEN_ROLES)
    assert shared.embedding_space == model.embedding_space
    assert read_tokens(model, llm, shared)[1].shape == (shared.token_space.tokens, shared.token_space.width)


def test_a_collection_behind_a_url_gives_the_same_projector(cli: Cli, collection: Path, llm: VideoLLM) -> None:
    local = figures(cli(*SHARE, "collection=collection"))
    assert figures(cli(*SHARE, f"collection={in_memory(collection)}")) == local


def test_teacher_embeddings_replace_latents(cli: Cli, collection: Path, llm: VideoLLM) -> None:
    options = ["dataset=shapes", "dataset.listing.root=shapes", "dataset.listing.videos=4"]
    found = figures(cli(*SHARE, *options, "teacher=shapes", "teacher.weights=clip"))
    assert (found["videos"], found["held_out"]["videos"]) == (2, 2)
    model = read_model(collection / "video0.linr", TOKEN_ROLES)
    assert read_tokens(model, llm, load_shared("shared.safetensors"))[1].isfinite().all()


@pytest.mark.parametrize("wrong", ["collection=nowhere", "bitstream=nowhere.linr"])
def test_a_wrong_name_is_an_error_before_the_model_is_loaded(cli: Cli, wrong: str) -> None:
    outcome = cli("task=align", wrong, "out=out.linr", "video_llm=llava_onevision", "video_llm.model=absent")
    assert outcome.code == 1
    assert f"{wrong}: no such file" in outcome.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no training data"),
        (["bitstream=video.linr", "collection=collection"], "give one of"),
        (["bitstream=video.linr", "video_llm=none"], "video_llm: there is no model to align to"),
        (["bitstream=video.linr", "projector=shared.safetensors"], "projector=shared.safetensors: task=align trains"),
        (["bitstream=nothing.linr"], "bitstream=nothing.linr: no such file"),
        (["bitstream=video.linr", "dataset=file", "dataset.path=images", "dataset.frames=5"], "holds 6 frames"),
        (["bitstream=video.linr", "align.steps=-1"], "steps=-1 of the projector's fit: choose"),
        (["bitstream=noise.linr"], "not a .linr file"),
        (["collection=nowhere"], "collection=nowhere"),
        (["bitstream=video.linr", "out=noise.linr/out.linr"], "out=noise.linr/out.linr: cannot be written"),
        (["collection=images", "held_out=1"], "held_out=1"),
        (["collection=images", "held_out=half"], "held_out=half"),
    ],
)
def test_wrong_options_are_errors_of_one_line(cli: Cli, file: Path, options: list[str], message: str) -> None:
    Path("noise.linr").write_bytes(b"noise")
    tiny = [] if "video_llm=none" in options else TINY
    assert message in cli("task=align", "out=out.linr", *tiny, *options).error
    assert not Path("out.linr").exists()
