"""Frame embeddings of a collection, computed from its `.linr` files alone."""

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_inr.codec import StoredVideo, read_video
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.ranges import FileRanges
from lightning_inr.retrieval.collection import Record, file_address
from lightning_inr.types import EmbeddingSpace

SEMANTIC_ROLES = ("latents", "embeddings", "semantic")  # the roles that `frame_embeddings` needs

UNALIGNED = "no teacher has aligned it"
NO_DIRECTION = "an embedding is zero or not finite; fit it again"
FRAMES_AT_ONCE = 4096  # bounds the memory of `frame_embeddings`


class FrameEmbeddings(NamedTuple):
    """Frame embeddings of one file."""

    embedding_space: EmbeddingSpace
    vectors: NDArray[np.float32]  # (frames, S), of length 1


class Gallery(NamedTuple):
    """Frame embeddings of many files, as rows in the order of the files."""

    embedding_space: EmbeddingSpace
    vectors: NDArray[np.float32]  # (N, S), of length 1
    video: NDArray[np.int64]  # (N,), index of each frame's video in the records
    frame: NDArray[np.int64]  # (N,), number of each frame in its video
    seconds: NDArray[np.float64]  # (N,), time of each frame in its video
    left_out: Mapping[str, str] = MappingProxyType({})  # id -> reason: not aligned, or damaged
    # Queries (Q, S) -> scores (N,) of each, by an index, -inf where it finds nothing; None: inner products of all.
    search: Callable[[NDArray[np.float32]], Iterator[NDArray[np.float32]]] | None = None


def read_model(path: str | Path, roles: Collection[str] = SEMANTIC_ROLES) -> StoredVideo:
    """Decode the model of a file or an address, only the tensors of `roles`; UserError if it is missing or damaged.

    Only the header and the sections of `roles` are read.
    """
    try:
        return read_video(FileRanges(path), roles=roles)
    except BitstreamError as error:
        raise UserError(f"{path}: {error}") from error


@torch.inference_mode()
def read_embeddings(path: str | Path) -> FrameEmbeddings | None:
    """Embeddings of all frames of a file; None if it is not aligned, UserError if it is missing or damaged."""
    model = read_model(path)
    if model.embedding_space is None:
        return None
    positions = torch.arange(model.video.frames).float().split(FRAMES_AT_ONCE)
    return FrameEmbeddings(
        model.embedding_space, np.concatenate([unit(model.frame_embeddings(each).numpy()) for each in positions])
    )


def read_gallery(folder: str | Path, records: Sequence[Record], space: EmbeddingSpace | None = None) -> Gallery:
    """Frame embeddings of these videos in `space`, or in that of the first; UserError for mixed spaces or for none."""
    left_out: dict[str, str] = {}
    parts = list(embed_videos(folder, records, left_out, space))
    if parts:
        space = parts[0][1].embedding_space
    if space is None:
        raise unaligned_error(folder, left_out)
    lengths = [len(part.vectors) for _, part in parts]
    vectors = np.concatenate([np.empty((0, space.width), np.float32), *(part.vectors for _, part in parts)])
    frame = np.concatenate([np.empty(0, np.int64), *(np.arange(length) for length in lengths)])
    video = np.repeat(np.array([index for index, _ in parts], np.int64), lengths)
    seconds = frame / np.array([record.fps for record in records])[video]
    return Gallery(space, vectors, video, frame, seconds, left_out)


def embed_videos(
    folder: str | Path,
    records: Sequence[Record],
    left_out: MutableMapping[str, str],
    space: EmbeddingSpace | None = None,
) -> Iterator[tuple[int, FrameEmbeddings]]:
    """Yield the index and the embeddings of each video that has any, and add id -> reason of the others to `left_out`.

    UserError for a file that is not in `space`, by default that of the first.
    """
    for index, record in enumerate(records):
        try:
            embeddings = read_embeddings(file_address(folder, record.path))
        except UserError as error:
            left_out[record.id] = str(error)
            continue
        if embeddings is None:
            left_out[record.id] = UNALIGNED
            continue
        space = space or embeddings.embedding_space
        check_same_space(embeddings.embedding_space, space, record.path, "the files before it")
        if not (np.abs(np.linalg.norm(embeddings.vectors, axis=1) - 1) < 0.01).all():
            left_out[record.id] = NO_DIRECTION
            continue
        yield index, embeddings


def unaligned_error(folder: str | Path, left_out: Mapping[str, str]) -> UserError:
    """The error for a collection of which no file can be searched."""
    reason = next((each for each in left_out.values() if each != UNALIGNED), UNALIGNED)
    return UserError(f"collection={folder}: {reason}; collect with module=alignment teacher=clip")


def check_same_space(one: EmbeddingSpace, other: EmbeddingSpace, one_name: str, other_name: str) -> None:
    """UserError if the spaces differ; its message names both as `one_name` and `other_name`."""
    if one.fingerprint != other.fingerprint:
        raise UserError(
            f"{one_name} is in the embedding space of {one.teacher} ({one.fingerprint}), {other_name} in that of "
            f"{other.teacher} ({other.fingerprint}): they cannot be compared; use the same teacher for both"
        )


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalise vectors (N, S) to length 1; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
