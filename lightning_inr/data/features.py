"""What a teacher sees in the frames of a video, computed once and kept on disk."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.teachers.clip import Clip

UNIT = 1e-3  # how far from 1 the length of a vector on disk may be


def default_cache() -> Path:
    """The user's cache of features: under $XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_inr" / "features"


def teacher_features(read: Callable[[int], Tensor], seen: Iterable[int], clip: Clip, cache: Path) -> Tensor:
    """What `clip` sees in the frames `seen`, in that order: (N, width) float32 of length 1.

    `read` gives a frame, (3, H, W) uint8, by its number. It is asked for each once in order, to know the video again,
    and once more if this teacher has not seen the video before. A cache that cannot be written is warned of, no more.
    """
    seen = list(seen)
    kept = cache.expanduser() / clip.space.fingerprint / f"{_video_key(read, seen)}.npy"
    features = _load(kept, (len(seen), clip.space.width))
    if features is None:
        features = clip.embed_frames(read(index) for index in tqdm(seen, "teacher", leave=False, unit="frame"))
        _keep(kept, features)
    return features


def _video_key(read: Callable[[int], Tensor], seen: Iterable[int]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for index in seen:
        frame = read(index)
        digest.update(repr(tuple(frame.shape)).encode())
        digest.update(frame.contiguous().numpy().data)
    return digest.hexdigest()


def _load(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The features kept at `path`; None if there are none, or none to be trusted."""
    try:
        found = np.lib.format.open_memmap(path, mode="r")  # checks the size before it takes memory; no pickle
    except (OSError, ValueError, OverflowError):
        return None
    if found.shape != shape or found.dtype != np.float32:
        return None
    features = torch.from_numpy(np.array(found))
    whole = torch.isclose(features.norm(dim=1), torch.tensor(1.0), atol=UNIT).all()
    return features if whole else None


def _keep(path: Path, features: Tensor) -> None:
    try:
        with writing(path) as draft:
            np.save(draft, features.numpy(), allow_pickle=False)
    except UserError as error:
        warnings.warn(f"the teacher's features are not kept for the next fit: {error}", stacklevel=3)
