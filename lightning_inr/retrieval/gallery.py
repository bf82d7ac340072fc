"""What the frames of a collection mean, read from its `.linr` files alone."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_inr.codec import decode
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.paths import read_bytes
from lightning_inr.retrieval.collection import Record
from lightning_inr.types import EmbeddingSpace

SEMANTIC_ROLES = ("latents", "embeddings", "semantic")  # the roles that `semantic` is made of

UNALIGNED = "no teacher has aligned it"
FRAMES_AT_ONCE = 4096


class Meaning(NamedTuple):
    """The frames of one file."""

    embedding_space: EmbeddingSpace
    vectors: NDArray[np.float32]  # (frames, S), of length 1


class Gallery(NamedTuple):
    """The frames of many files, one below the other."""

    embedding_space: EmbeddingSpace
    vectors: NDArray[np.float32]  # (N, S), of length 1
    video: NDArray[np.int64]  # (N,), the place of each frame's video among the records
    frame: NDArray[np.int64]  # (N,), its number in the video
    seconds: NDArray[np.float64]  # (N,), into the video
    left_out: Mapping[str, str] = MappingProxyType({})  # id -> why: no teacher has aligned it, or it is damaged


def read_model(path: Path, roles: Collection[str] = SEMANTIC_ROLES) -> VideoRepresentation:
    """The model in a file, of these roles alone; UserError if the file is missing or damaged."""
    try:
        return decode(read_bytes(path, "bitstream"), roles=roles)
    except BitstreamError as error:
        raise UserError(f"{path}: {error}") from error


@torch.inference_mode()
def read_meaning(path: Path) -> Meaning | None:
    """What all frames of a file mean; None if no teacher has aligned it, UserError if it is missing or damaged."""
    model = read_model(path)
    if model.embedding_space is None:
        return None
    places = torch.arange(model.video.frames).float().split(FRAMES_AT_ONCE)
    return Meaning(
        model.embedding_space, np.concatenate([unit(model.frame_embeddings(each).numpy()) for each in places])
    )


def read_gallery(folder: Path, records: Sequence[Record], space: EmbeddingSpace | None = None) -> Gallery:
    """The frames of these videos, in `space` or that of the first; UserError if another aligned one, or none did."""
    parts: list[NDArray[np.float32]] = []
    places: list[int] = []
    left_out: dict[str, str] = {}
    for place, record in enumerate(records):
        try:
            meaning = read_meaning(folder / record.path)
        except UserError as error:
            left_out[record.id] = str(error)
            continue
        if meaning is None:
            left_out[record.id] = UNALIGNED
            continue
        space = space or meaning.embedding_space
        check_same_space(meaning.embedding_space, space, record.path, "the files before it")
        parts.append(meaning.vectors)
        places.append(place)
    if space is None:
        reason = next((why for why in left_out.values() if why != UNALIGNED), "no teacher has aligned it")
        raise UserError(f"collection={folder}: {reason}; collect with module=alignment teacher=clip")
    lengths = [len(part) for part in parts]
    vectors = np.concatenate([np.empty((0, space.width), np.float32), *parts])
    frame = np.concatenate([np.empty(0, np.int64), *(np.arange(length) for length in lengths)])
    video = np.repeat(np.array(places, np.int64), lengths)
    seconds = frame / np.array([record.fps for record in records])[video]
    return Gallery(space, vectors, video, frame, seconds, left_out)


def check_same_space(one: EmbeddingSpace, other: EmbeddingSpace, whose: str, others: str) -> None:
    """UserError if the vectors of `whose` space `one` cannot be compared with those of `others`, `other`."""
    if one.fingerprint != other.fingerprint:
        raise UserError(
            f"{whose} speaks {one.teacher} ({one.fingerprint}), {others} {other.teacher} ({other.fingerprint}): "
            "they cannot be compared; take the same teacher for both"
        )


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, S) -> the same directions, of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
