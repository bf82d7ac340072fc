"""Small models of each architecture."""

from pathlib import Path

import pytest

from lightning_inr.errors import UserError
from lightning_inr.teachers.catalogue import load_tiny
from lightning_inr.types import VideoShape


@pytest.mark.parametrize("family", ["qwen2_5_vl", "video_llama"])
def test_it_is_written_once_and_is_the_same_model_each_time(family: str, tmp_path: Path) -> None:
    folder = tmp_path / family
    first = load_tiny(str(folder), family, frames=2)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = load_tiny(str(folder), family, load_vision=False, frames=2)
    assert again.fingerprint == first.fingerprint
    assert (first.has_vision, again.has_vision) == (True, False)
    assert again.untrained
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps
    assert first.token_space(VideoShape(9, 32, 32, 25.0)).sampling.frames == 2


def test_an_unknown_family_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"video_llm\.family=gpt: choose one of llava_onevision.*, video_llama$"):
        load_tiny(str(tmp_path / "gpt"), "gpt")
