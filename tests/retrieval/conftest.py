"""A collection of small aligned files, made without a fit."""

from pathlib import Path

import pytest

from lightning_inr.codec import Codec
from lightning_inr.retrieval import gallery
from lightning_inr.retrieval.collection import Record, write_manifest
from lightning_inr.types import EmbeddingSpace
from tests.conftest import small_model

FRAMES = 5  # of each video


def add_video(folder: Path, number: int, space: EmbeddingSpace | None = None) -> Record:
    """Write an aligned file, whose embeddings differ from those of other numbers, and return its record."""
    model = small_model()
    model.align(space or EmbeddingSpace("tiny", "01", 6))
    (folder / f"v{number}.linr").write_bytes(Codec().encode(model))
    return Record(f"v{number}", f"v{number}.linr", "{}", FRAMES, 22, 30, 25.0, None, [], [], "tiny", 1, 0.1, 30.0, None,
                  None, None, 1, 1)  # fmt: skip


class Recorded:
    """`read_embeddings` that notes what it reads."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.original = gallery.read_embeddings

    def __call__(self, path: Path) -> gallery.FrameEmbeddings | None:
        self.names.append(path.stem)
        return self.original(path)


@pytest.fixture
def videos(tmp_path: Path) -> list[Record]:
    """A collection of six files in `tmp_path`."""
    records = [add_video(tmp_path, number) for number in range(6)]
    write_manifest(tmp_path, records)
    return records
