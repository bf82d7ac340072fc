"""Evaluation of retrieval in a small collection through the command line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lightning_inr.retrieval.collection import read_manifest, write_manifest
from lightning_inr.retrieval.gallery import read_gallery
from lightning_inr.retrieval.protocols import ProtocolOptions, query_classes, query_segments, query_videos
from tests.conftest import ALIGNED, Outcome
from tests.pictures import places

Cli = Callable[..., Outcome]
MEASURE = ["task=evaluate_retrieval", "collection=collection", "run_dir=measured", "feature_cache=features"]
METHODS = ["CLIP, true frames", "CLIP, decoded frames", "our latents", "random latents"]


def rows(folder: str = "measured") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(folder) / "result.json").read_text())["retrieval"]
    return found


def test_every_protocol_has_four_rows_and_every_query_is_written(cli: Cli, collection: Path) -> None:
    outcome = cli(*MEASURE)
    assert outcome.code == 0, outcome.err
    protocols = ["class", "segment", "text to video", "video to text"]
    assert [
        (row["protocol"], row["method"]) for row in sorted(rows(), key=lambda row: METHODS.index(row["method"]))
    ] == [(protocol, method) for method in METHODS for protocol in protocols]
    table = pq.read_table("measured/queries.parquet").to_pylist()
    for row in rows():
        own = [each["rank"] for each in table if (each["method"], each["protocol"]) == (row["method"], row["protocol"])]
        found = [rank for rank in own if rank is not None]
        assert len(found) == row["queries"]
        assert row["recall_1"] == pytest.approx(100 * np.mean([rank < 2 for rank in found]))
    for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)):  # a line a method
        assert len(places("measured/recall.png", colour)) > 10
    framed = [len(places("measured/neighbours.png", colour)) for colour in ((26, 150, 65), (215, 25, 28))]
    assert sum(framed) > 1000  # green around what is right, red around what is wrong
    assert all(method in outcome.out for method in METHODS)


def test_an_index_has_a_row_of_its_own(cli: Cli, collection: Path) -> None:
    outcome = cli(*MEASURE, "retrieval.protocols=[class,segment]", "index=lancedb", "retrieval.frame_stride=2")
    assert outcome.code == 0, outcome.err
    ours = {row["protocol"]: row for row in rows() if row["method"] == "our latents"}
    found = {row["protocol"]: row for row in rows() if row["method"] == "our latents, lancedb"}
    assert list(found) == ["class", "segment"]
    for protocol, row in found.items():
        assert row["curve"] == ours[protocol]["curve"]
        assert row["mean_rank"] == pytest.approx(ours[protocol]["mean_rank"])


def test_without_the_videos_their_row_is_left_out(cli: Cli, collection: Path) -> None:
    gone = [record._replace(source='{"path": "gone.mp4"}') for record in read_manifest(collection)]
    write_manifest(collection, gone)
    outcome = cli(*MEASURE, "retrieval.protocols=[video]")
    assert outcome.code == 0, outcome.err
    assert "CLIP, true frames: left out, dataset.path=" in outcome.out
    assert [row["method"] for row in rows()] == [method for method in METHODS[1:] for _ in range(2)]


def test_a_sweep_of_the_weight_ends_in_one_report(cli: Cli, collection: Path) -> None:
    outcome = cli("-m", *ALIGNED, "dataset.listing.root=shapes", "teacher.weights=clip", "run_dir=sweep",
                  "module.alignment_weight=0,1", "dataset.listing.videos=4")  # fmt: skip
    assert outcome.code == 0, outcome.err
    page = Path("sweep/report.html").read_text()
    assert "<h2>Retrieval</h2>" in page
    assert "module.alignment_weight=1" in page
    runs = list(csv.DictReader(Path("sweep/runs.csv").read_text().splitlines()))
    assert {run["video"] for run in runs} == {"shapes"}


def test_perfect_latents_have_recall_100(collection: Path) -> None:
    records = read_manifest(collection)
    records = [record._replace(label=f"class {place}") for place, record in enumerate(records)]
    gallery = read_gallery(collection, records)
    eye = np.eye(len(records), gallery.embedding_space.width, dtype=np.float32)
    gallery = gallery._replace(vectors=eye[gallery.video])
    [classes] = query_classes(records, gallery, lambda texts: eye[[int(text[-1]) for text in texts]], ProtocolOptions())
    assert classes.scores.recall_1 == 100
    captions = [record.captions[0] for record in records]
    for result in query_videos(
        records, gallery, lambda texts: eye[[captions.index(text) for text in texts]], ProtocolOptions()
    ):
        assert result.scores.recall_1 == 100


def test_only_frames_inside_a_segment_are_positives(collection: Path) -> None:
    records = read_manifest(collection)
    gallery = read_gallery(collection, records)
    inside = 3  # frames 0 to 3 of 12 a second lie in the first quarter of a second, its end included
    spans = [records[0].segments[0]._replace(start=0.0, end=0.25, label="it begins")]
    records = [records[0]._replace(segments=spans), *(record._replace(segments=[]) for record in records[1:])]
    late = np.zeros((len(gallery.video), gallery.embedding_space.width), np.float32)
    late[np.arange(len(late)), np.where((gallery.video == 0) & (gallery.frame > inside), 0, 1)] = 1
    query = np.zeros((1, gallery.embedding_space.width), np.float32)
    query[0, 0] = 1
    [result] = query_segments(records, gallery._replace(vectors=late), lambda texts: query, ProtocolOptions())
    outside = int(((gallery.video == 0) & (gallery.frame > inside)).sum())
    assert outside == 2
    assert result.ranks[0] > outside
    assert result.queries == ["it begins"]


def test_recall_is_logged_to_weights_and_biases(
    cli: Cli, collection: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wandb

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    sent: list[str] = []
    original = wandb.sdk.wandb_run.Run.log

    def recorded(run: Any, data: dict[str, Any], **rest: Any) -> None:
        sent.extend(data)
        original(run, data, **rest)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", recorded)
    outcome = cli(*MEASURE, "logger=wandb", "retrieval.protocols=[class]")
    assert outcome.code == 0, outcome.err
    assert sent == ["retrieval", "recall/class"]


def test_a_wrong_protocol_is_named(cli: Cli, collection: Path) -> None:
    assert (
        "retrieval.protocols=['music']: choose from class, segment, video"
        in cli(*MEASURE, "retrieval.protocols=[music]").error
    )
    assert "retrieval.neighbours=0" in cli(*MEASURE, "retrieval.neighbours=0").error
    assert "retrieval.frame_stride=0" in cli(*MEASURE, "retrieval.frame_stride=0").error
