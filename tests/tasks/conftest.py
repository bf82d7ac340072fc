"""A small video language model, and files aligned to it."""

import shutil
from pathlib import Path

import fsspec
import pytest
import torch

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.tiny.video_llm import write_small
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import VideoShape
from tests.conftest import small_model


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained video language model."""
    return write_small(tmp_path_factory.mktemp("video_llm") / "tiny")


@pytest.fixture
def llm(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoLLM:
    """The same, in the folder where `cli` runs, and loaded."""
    shutil.copytree(written, tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    return load_video_llm("tiny", frames=3)


def in_memory(folder: Path) -> str:
    """The address of a copy of a folder, in the memory of this process."""
    address = f"memory://{folder.parent.name}/{folder.name}"
    fsspec.filesystem("memory").put(f"{folder}/", address, recursive=True)
    return address


def aligned_model(llm: VideoLLM, video: VideoShape | None = None) -> VideoRepresentation:
    """A small model with a projector of random weights."""
    net = small_model(video=video)
    net.attach_projector(llm.token_space(net.video))
    assert net.projector is not None
    with torch.no_grad():
        for parameter in net.projector.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return net
