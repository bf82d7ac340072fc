"""Search by a text, by an image, and by a frame of another file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_inr.codec import Codec, decode
from lightning_inr.pipelines.collection_manifest import write_collection
from lightning_inr.retrieval.collection import read_manifest, write_manifest
from lightning_inr.retrieval.gallery import read_embeddings
from lightning_inr.retrieval.query import frame_scores, open_collection, search_collection
from lightning_inr.storage import open_folder
from tests.conftest import ALIGNED, Outcome, small_model, write_teacher
from tests.pictures import visible_share

Cli = Callable[..., Outcome]
SEARCH = ["task=search", "collection=collection"]


def hits() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(Path("found/hits.json").read_text())["hits"]
    return found


def test_a_text_query_finds_the_best_frame_of_each_video(cli: Cli, collection: Path) -> None:
    outcome = cli(*SEARCH, "query=a red ball rolls left", "k=3")
    assert outcome.code == 0, outcome.err
    assert len({hit["id"] for hit in hits()}) == 3
    scores = [float(str(hit["score"])) for hit in hits()]
    assert scores == sorted(scores, reverse=True)
    for hit in hits():
        frame = next(decode((collection / f"{hit['id']}.linr").read_bytes()).render([float(str(hit["frame"]))]))
        assert visible_share("found/hits.png", frame.permute(1, 2, 0).numpy()) == 1
    assert outcome.out.count(".linr") == 3


def test_a_frame_of_a_file_finds_itself(cli: Cli, collection: Path) -> None:
    assert cli(*SEARCH, "query_file=collection/video2.linr", "query_frame=4", "k=1").code == 0
    assert (hits()[0]["id"], hits()[0]["frame"]) == ("video2", 4)
    assert hits()[0]["score"] == pytest.approx(1.0, abs=1e-5)
    assert "has frames 0 to 5" in cli(*SEARCH, "query_file=collection/video2.linr", "query_frame=9").error


def test_an_image_is_a_query(cli: Cli, collection: Path) -> None:
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save("query.png")
    assert cli(*SEARCH, "image=query.png", "per=frame", "k=9").code == 0
    assert len(hits()) == 9
    Path("query.png").write_bytes(b"no image")
    assert "not an image" in cli(*SEARCH, "image=query.png").error


def test_the_index_is_stored_and_rebuilt(collection: Path) -> None:
    whole = open_collection(collection)
    kept = collection / "index" / "exact" / "vectors.faiss"
    written = kept.stat().st_mtime_ns
    assert len(open_collection(collection).vectors) == 24
    assert kept.stat().st_mtime_ns == written
    query = decode((collection / "video1.linr").read_bytes()).frame_embeddings(torch.tensor([2.0]))[0]
    vector = (query / query.norm()).detach().numpy()
    assert search_collection(whole, vector, 1)[0].frame == 2

    shutil.copy(collection / "video0.linr", collection / "video1.linr")  # another file now
    again = search_collection(open_collection(collection), vector, 4, per="frame")
    assert all(hit.record.id != "video1" or hit.score < 0.9999 for hit in again)


def test_all_frames_of_a_video_are_scored_from_the_index(collection: Path) -> None:
    opened = open_collection(collection)
    query = opened.vectors.vectors(0, 1)[0]
    for record in opened.records:
        embeddings = read_embeddings(collection / record.path)
        assert embeddings is not None
        np.testing.assert_allclose(frame_scores(opened, record, query), embeddings.vectors @ query, atol=1e-5)


def test_only_new_files_of_a_collection_are_read(cli: Cli, collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = collection / "records" / "video3.json"
    hidden = record.rename("hidden.json")
    write_collection(open_folder(collection, "collection"), [])
    assert len(open_collection(collection).vectors) == 18
    hidden.rename(record)
    write_collection(open_folder(collection, "collection"), [])
    read: list[str] = []
    from lightning_inr.retrieval import gallery

    original = gallery.read_embeddings

    def recorded(path: Path) -> gallery.FrameEmbeddings | None:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(gallery, "read_embeddings", recorded)
    grown = open_collection(collection)
    assert (len(grown.vectors), read) == (24, ["video3.linr"])
    videos, frames = grown.rows.places(np.arange(24))
    assert (videos.tolist(), frames.tolist()) == (np.repeat(range(4), 6).tolist(), 4 * list(range(6)))


def test_an_unaligned_file_is_left_out_and_named(cli: Cli, collection: Path) -> None:
    (collection / "video1.linr").write_bytes(Codec().encode(small_model()))
    outcome = cli(*SEARCH, "query=a ball", "k=9")
    assert outcome.code == 0, outcome.err
    assert "left out: 1 of the videos (video1): no teacher has aligned it" in outcome.out
    assert "video1" not in {hit["id"] for hit in hits()}
    assert "no teacher has aligned it" in cli(*SEARCH, "query_file=collection/video1.linr").error


def test_two_teachers_cannot_be_compared(cli: Cli, collection: Path) -> None:
    write_teacher(Path("other"), seed=1)
    outcome = cli(*SEARCH, "teacher=shapes", "teacher.weights=other", "query=a ball")
    assert "the query is in the embedding space of other" in outcome.error
    shutil.rmtree(Path("mixed"), ignore_errors=True)
    mixed = cli("task=collect", *ALIGNED, "dataset.listing.root=shapes", "teacher.weights=other", "collection=mixed",
                "shard=1/4")  # fmt: skip
    assert mixed.code == 0, mixed.err
    shutil.copy("mixed/video0.linr", collection / "video3.linr")
    assert "video3.linr is in the embedding space of other" in cli(*SEARCH, "query=a ball").error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["query="], "query: it is empty"),
        (["query=   "], "query: it is empty"),
        ([], "give one of query=…, image=… and query_file=…"),
        (["query=a", "image=b.png"], "give one of"),
        (["query=a", "k=0"], "k=0"),
        (["query=a", "per=hour"], "per=hour: choose video or frame"),
        (["query=a", "index=best"], "exact, ivf_pq"),
        (["query=a", "collection=nowhere"], "collection=nowhere: no such file or folder"),
        (["query=a", "collection=shapes"], "no collection.parquet there"),
    ],
)
def test_wrong_options_are_errors_of_one_line(cli: Cli, collection: Path, options: list[str], message: str) -> None:
    assert message in cli(*SEARCH, *options).error


def test_another_script_gives_a_warning(cli: Cli, collection: Path) -> None:
    outcome = cli(*SEARCH, "query='赤いボール'")
    assert outcome.code == 0, outcome.err
    assert "warning: query='赤いボール'" in outcome.out


def test_a_damaged_file_is_left_out_and_named(cli: Cli, collection: Path) -> None:
    whole = (collection / "video2.linr").read_bytes()
    (collection / "video2.linr").write_bytes(whole[:-9])
    (collection / "video0.linr").unlink()
    (collection / "video0.linr").mkdir()
    for _ in range(2):  # with the index that is kept, too
        outcome = cli(*SEARCH, "query=a ball", "k=9")
        assert outcome.code == 0, outcome.err
        assert "(video2): collection/video2.linr: damaged .linr" in outcome.out
        assert "(video0): bitstream=collection/video0.linr: not a file" in outcome.out
        assert {hit["id"] for hit in hits()} == {"video1", "video3"}
    (collection / "video2.linr").write_bytes(whole)
    assert "video2" not in cli(*SEARCH, "query=a ball", "k=1").out.partition("\n")[0]
    assert len(open_collection(collection).left_out) == 1


def test_a_damaged_index_is_built_again(cli: Cli, collection: Path) -> None:
    before = cli(*SEARCH, "query=a ball").out
    file = collection / "index" / "exact" / "vectors.faiss"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    assert cli(*SEARCH, "query=a ball").out == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "/etc/passwd.linr"}, "which is not a .linr file of this folder"),
        ({"path": "../video1.linr"}, "which is not a .linr file of this folder"),
        ({"path": "/dev/zero"}, "which is not a .linr file of this folder"),
        ({"fps": 0.0}, "video1 has fps 0.0"),
        ({"fps": None}, "video1 has fps None"),
        ({"frames": 0}, "video1 has frames 0"),
    ],
)
def test_an_invalid_manifest_is_named(cli: Cli, collection: Path, changes: dict[str, Any], message: str) -> None:
    records = [record._replace(**changes) if record.id == "video1" else record for record in read_manifest(collection)]
    write_manifest(collection, records)
    error = cli(*SEARCH, "query=a ball").error
    assert "collection.parquet is damaged" in error
    assert message in error


@pytest.mark.parametrize("text", ["teacher: [", "- 1", "teacher: 3", "teacher: {weights: 7}"])
def test_a_damaged_configuration_is_named(cli: Cli, collection: Path, text: str) -> None:
    (collection / "config.yaml").write_text(text)
    assert "collection" in cli(*SEARCH, "query=a ball").error


def test_a_damaged_manifest_is_named(cli: Cli, collection: Path) -> None:
    (collection / "collection.parquet").write_bytes(b"PAR1 no table PAR1")
    assert "collection.parquet is damaged" in cli(*SEARCH, "query=a ball").error
