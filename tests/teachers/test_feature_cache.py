"""Caching of teacher embeddings and visual tokens."""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_inr.teachers.clip import Clip, load_clip
from lightning_inr.teachers.feature_cache import default_cache, teacher_features, video_tokens
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape
from tests.conftest import moving_square, write_teacher


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return load_clip(weights=str(write_teacher(tmp_path / "tiny")), device="cpu")


class CountingVideo:
    """A video that counts its reads."""

    def __init__(self, video: Tensor) -> None:
        self.video, self.reads = video, 0

    def read(self, index: int) -> Tensor:
        self.reads += 1
        return self.video[index]


def features(video: Tensor, clip: Clip, cache: Path, numbers: range = range(0, 6, 2)) -> tuple[Tensor, bool]:
    """The features, and whether the teacher computed them: every frame is then read twice."""
    counting = CountingVideo(video)
    found = teacher_features(counting.read, numbers, clip, cache)
    assert counting.reads in (len(numbers), 2 * len(numbers))
    return found, counting.reads > len(numbers)


def test_the_teacher_embeds_a_video_once(clip: Clip, tmp_path: Path) -> None:
    video, cache = moving_square(), tmp_path / "cache"
    first, computed = features(video, clip, cache)
    assert computed
    assert torch.equal(first, clip.embed_frames(video[::2]))
    again, computed = features(video, clip, cache)
    assert not computed
    assert torch.equal(again, first)
    assert len(list(cache.rglob("*.npy"))) == 1


def test_another_video_part_size_or_teacher_is_embedded_anew(clip: Clip, tmp_path: Path) -> None:
    video, cache = moving_square(), tmp_path / "cache"
    features(video, clip, cache)
    changed = video.clone()
    changed[4, 2, 0, 0] += 1
    unseen = video.clone()
    unseen[3] = 0
    other = load_clip(weights=str(write_teacher(tmp_path / "other", seed=1)), device="cpu")
    assert features(changed, clip, cache)[1]
    assert features(video, clip, cache, range(1, 6, 2))[1]
    assert features(video.reshape(6, 3, 64, 48), clip, cache)[1]
    assert features(video, other, cache)[1]
    assert not features(unseen, clip, cache)[1]


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "shape", "nan", "pickle", "huge"])
def test_a_damaged_file_is_replaced(clip: Clip, tmp_path: Path, damage: str) -> None:
    video, cache = moving_square(), tmp_path / "cache"
    first, _ = features(video, clip, cache)
    (file,) = cache.rglob("*.npy")
    whole = file.read_bytes()
    if damage in ("cut", "noise", "empty", "huge"):
        huge = whole.replace(b"(3, 32), }          ", b"(3, 32000000000), } ")
        file.write_bytes({"cut": whole[:-1], "noise": b"\x93NUMPY" * 99, "empty": b"", "huge": huge}[damage])
    else:
        wrong = {"shape": first[:2], "nan": first * torch.nan, "pickle": np.array([{}])}[damage]
        np.save(file, np.asarray(wrong), allow_pickle=True)
    assert file.read_bytes() != whole
    again, computed = features(video, clip, cache)
    assert computed
    assert torch.equal(again, first)
    assert file.read_bytes() == whole


def test_features_are_returned_if_the_cache_cannot_be_written(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="not kept for the next fit: cannot write .*: No space left"):
        found, _ = features(moving_square(), clip, tmp_path / "cache")
    assert found.shape == (3, 32)


class CountingEncoder:
    """A video language model that only encodes frames, and counts the calls."""

    def __init__(self, tower: str = "aa", loud: float = 1.0) -> None:
        self.vision_fingerprint, self.loud, self.calls = tower, loud, 0

    def features(self, frames: Sequence[Tensor], space: TokenSpace) -> Tensor:
        self.calls += 1
        return self.loud * torch.stack([frame.float().flatten()[: space.width] / 3 for frame in frames])


SPACE = TokenSpace("tiny", "0123", 3, 3, 8, FrameSampling(3, 32, 32, 0.1))


def tokens(video: Tensor, encoder: CountingEncoder, cache: Path, space: TokenSpace = SPACE) -> tuple[Tensor, bool]:
    """The tokens, and whether the model computed them."""
    calls, shape = encoder.calls, VideoShape(len(video), video.shape[2], video.shape[3], 25.0)
    found = video_tokens(video.__getitem__, cast(VideoLLM, encoder), space, shape, cache)
    return found, encoder.calls > calls


def test_tokens_are_computed_once_and_cached_as_float16(tmp_path: Path) -> None:
    video, encoder = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8), CountingEncoder()
    first, computed = tokens(video, encoder, tmp_path)
    assert computed
    assert torch.allclose(first, encoder.features(list(video[[0, 2, 4]]), SPACE), rtol=1e-3)
    again, computed = tokens(video, encoder, tmp_path)
    assert not computed
    assert torch.equal(again, first)
    (file,) = tmp_path.rglob("*.npy")
    assert file.stat().st_size == 128 + 2 * 3 * 8
    file.write_bytes(file.read_bytes()[:-1])
    again, computed = tokens(video, encoder, tmp_path)
    assert computed
    assert torch.equal(again, first)


def test_another_tower_size_or_video_is_encoded_anew(tmp_path: Path) -> None:
    video, encoder = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8), CountingEncoder()
    tokens(video, encoder, tmp_path)
    changed, changed_elsewhere = video.clone(), video.clone()
    changed[4] += 1
    changed_elsewhere[3] += 1
    assert tokens(video, CountingEncoder("bb"), tmp_path)[1]
    assert tokens(video, encoder, tmp_path, SPACE._replace(sampling=FrameSampling(3, 32, 64, 0.1)))[1]
    assert tokens(changed, encoder, tmp_path)[1]
    assert not tokens(changed_elsewhere, encoder, tmp_path)[1]
    # The language model and the times of the frames are not part of the key.
    assert not tokens(
        video, encoder, tmp_path, SPACE._replace(fingerprint="9", sampling=FrameSampling(3, 32, 32, 9.0))
    )[1]


def test_tokens_beyond_float16_are_not_cached(tmp_path: Path) -> None:
    video, encoder = torch.full((3, 3, 8, 8), 255, dtype=torch.uint8), CountingEncoder(loud=1e6)
    for _ in range(2):
        found, computed = tokens(video, encoder, tmp_path)
        assert computed
        assert torch.equal(found, torch.full((3, 8), 85e6))
    assert not list(tmp_path.rglob("*.npy"))


def test_the_default_cache_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "lightning_inr" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "lightning_inr" / "features"
