"""Teacher embeddings and visual tokens of a video: computed once and cached on disk."""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.paths import cache_dir, writing
from lightning_inr.progress import ProgressBar
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import TokenSpace, VideoShape

UNIT = 1e-3  # largest deviation from 1 of the length of a cached vector


def default_cache() -> Path:
    """The user's cache folder of features."""
    return cache_dir() / "features"


def teacher_features(read: Callable[[int], Tensor], numbers: Iterable[int], clip: Clip, cache: Path) -> Tensor:
    """The teacher embeddings by `clip` of the frames `numbers`, in that order: (N, width) float32 of length 1.

    `read` gives a frame, (3, H, W) uint8, by its number. It is called once per frame in order, for the cache key of the
    video, and once more per frame if the embeddings are not cached. A cache that cannot be written causes a warning.
    """
    numbers = list(numbers)
    path = cache.expanduser() / clip.embedding_space.fingerprint / f"{_video_key(read, numbers)}.npy"
    features = _load(path, (len(numbers), clip.embedding_space.width), np.float32)
    if features is None or not torch.isclose(features.norm(dim=1), torch.tensor(1.0), atol=UNIT).all():
        bar = ProgressBar(numbers, "teacher", leave=False, unit="frame")
        features = clip.embed_frames(read(index) for index in bar)
        _save(path, features.numpy())
    return features


def video_tokens(
    read: Callable[[int], Tensor], llm: VideoLLM, space: TokenSpace, video: VideoShape, cache: Path
) -> Tensor:
    """The visual tokens of `video` by `llm`, with the frame sampling of `space`: (K, d) float32, rounded to float16.

    `read` gives a frame as for `teacher_features`; the sampled frames are read once, and once more if their tokens are
    not cached. The seconds between them are used by the language model alone, and are not part of the cache key.
    """
    sampled = video.spread(space.sampling.frames)
    subfolder = f"{llm.vision_fingerprint}-{space.sampling.height}x{space.sampling.width}-{space.tokens}x{space.width}"
    path = cache.expanduser() / subfolder / f"{_video_key(read, sampled)}.npy"
    tokens = _load(path, (space.tokens, space.width), np.float16)
    if tokens is None:
        tokens = llm.features([read(index) for index in sampled], space)
        rounded = tokens.half()
        if not rounded.isfinite().all():  # beyond 65504: not cached, computed each time
            return tokens
        _save(path, rounded.numpy())
        tokens = rounded.float()
    return tokens


def _video_key(read: Callable[[int], Tensor], numbers: Iterable[int]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for index in numbers:
        frame = read(index)
        digest.update(repr(tuple(frame.shape)).encode())
        digest.update(frame.contiguous().numpy().data)
    return digest.hexdigest()


def _load(path: Path, shape: tuple[int, int], kind: type[np.floating[Any]]) -> Tensor | None:
    """The values cached at `path`, as float32; None if there are none, or if they are not valid."""
    try:
        found = np.lib.format.open_memmap(path, mode="r")  # checks the size before it takes memory; no pickle
    except (OSError, ValueError, OverflowError):
        return None
    if found.shape != shape or found.dtype != kind:
        return None
    values = torch.from_numpy(np.array(found, np.float32))
    return values if values.isfinite().all() else None


def _save(path: Path, values: NDArray[np.floating[Any]]) -> None:
    try:
        with writing(path) as draft:
            np.save(draft, values, allow_pickle=False)
    except UserError as error:
        warnings.warn(f"the teacher's features are not kept for the next fit: {error}", stacklevel=3)
