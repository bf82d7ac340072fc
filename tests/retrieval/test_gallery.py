"""Galleries are read from the latents of each file, also if the network that renders frames is damaged."""

from pathlib import Path

import pytest
import torch

from lightning_inr.codec import Codec, decode
from lightning_inr.errors import BitstreamError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.retrieval.collection import Record, write_manifest
from lightning_inr.retrieval.gallery import SEMANTIC_ROLES, read_gallery, read_model
from lightning_inr.retrieval.query import open_collection, search_collection
from lightning_inr.types import EmbeddingSpace
from tests.codec.test_sections import with_noise_in
from tests.conftest import small_model

MODELS = ("latent_inr", "latent_inr_grids", "hnerv")
RENDERING = ("hyper", "grid", "base")


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    """A collection of three aligned files of five frames in `tmp_path`."""
    records = []
    for name in MODELS:
        model = small_model(name)
        model.align(EmbeddingSpace("tiny", "01", 6))
        (tmp_path / f"{name}.linr").write_bytes(Codec().encode(model))
        records.append(
            Record(
                name, f"{name}.linr", "{}", 5, 22, 30, 25.0, None, [], [], "tiny", 1, 0.1, 30.0, None, None, None, 1, 1
            )
        )
    write_manifest(tmp_path, records)
    return records


@pytest.mark.parametrize("damaged", MODELS)
def test_damage_in_the_base_network_does_not_affect_search(records: list[Record], tmp_path: Path, damaged: str) -> None:
    file = tmp_path / f"{damaged}.linr"
    query = read_gallery(tmp_path, records).vectors[5 * MODELS.index(damaged) + 2]
    file.write_bytes(with_noise_in(file.read_bytes(), RENDERING))
    collection = open_collection(tmp_path)
    assert not collection.left_out
    best = search_collection(collection, query, 1)[0]
    assert (best.record.id, best.frame) == (damaged, 2)
    assert best.score == pytest.approx(1, abs=1e-5)
    with pytest.raises(BitstreamError, match="does not match its checksum"):
        decode(file.read_bytes())


def test_a_file_with_damaged_search_roles_is_left_out(records: list[Record], tmp_path: Path) -> None:
    for name, role in zip(MODELS, ("latents", "semantic", "embeddings"), strict=True):
        whole = (tmp_path / f"{name}.linr").read_bytes()
        (tmp_path / f"{name}.linr").write_bytes(with_noise_in(whole, [role]))
        gallery = read_gallery(tmp_path, records)
        assert list(gallery.left_out) == [name]
        assert f"section {role} does not match its checksum" in gallery.left_out[name]
        assert gallery.vectors.shape == (10, 6)
        (tmp_path / f"{name}.linr").write_bytes(whole)


def test_only_search_roles_are_decoded(records: list[Record], tmp_path: Path) -> None:
    for record in records:
        model = read_model(tmp_path / record.path)
        assert isinstance(model, VideoRepresentation)
        whole = decode((tmp_path / record.path).read_bytes())
        with_values = {name for name, tensor in model.state_dict().items() if not tensor.is_meta}
        groups = model.coded_groups()
        assert with_values == {name for role in SEMANTIC_ROLES for name in groups.get(role, [])}
        places = torch.arange(5.0)
        with torch.inference_mode():
            torch.testing.assert_close(model.frame_embeddings(places), whole.frame_embeddings(places))
