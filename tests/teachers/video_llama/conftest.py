"""A small Video-LLaMA, and what its tests share."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lightning_inr.teachers.tiny.video_llama import write_small_video_llama
from lightning_inr.teachers.video_llama.model import VideoLlama, load_video_llama
from lightning_inr.teachers.video_llm.interface import Message
from lightning_inr.types import VideoShape

VIDEO = VideoShape(40, 48, 64, 10.0)
QUESTION = [Message("user", "What moves?")]


def pieces(folder: Path) -> dict[str, Any]:
    return {
        "weights": str(folder / "video_llama.pth"), "llama": str(folder / "llama"), "blip2": str(folder / "blip2"),
        "device": "cpu",
    }  # fmt: skip


def load_space(model: VideoLlama, frames: int) -> Any:
    space = model.token_space(VIDEO)
    return space._replace(sampling=space.sampling._replace(frames=frames))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_video_llama(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def model(small: Path) -> VideoLlama:
    return load_video_llama(**pieces(small))


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    """Copies of the parts that a test may change."""
    return Path(shutil.copytree(small, tmp_path / "copied"))
