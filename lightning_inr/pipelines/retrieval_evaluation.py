"""Evaluation of retrieval by latents, compared with CLIP on true and on decoded frames, and with random latents."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lightning_inr.codec import read_video
from lightning_inr.errors import UserError
from lightning_inr.paths import write_text, writing
from lightning_inr.pipelines.search import decode_picture, print_left_out
from lightning_inr.progress import ProgressBar
from lightning_inr.ranges import FileRanges
from lightning_inr.report.hits import HitImage, draw_neighbours
from lightning_inr.report.recall import RecallRow, draw_recall, recall_table
from lightning_inr.report.wandb_report import log_recall
from lightning_inr.retrieval.collection import Record, file_address, original, read_manifest
from lightning_inr.retrieval.gallery import Gallery, check_same_space, read_gallery, unit
from lightning_inr.retrieval.protocols import PROTOCOLS, AnnotatedVideo, ProtocolOptions, ProtocolResult
from lightning_inr.retrieval.query import OpenCollection, open_collection
from lightning_inr.retrieval.scores import recall
from lightning_inr.retrieval.stored_index import IndexOptions
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.feature_cache import teacher_features

OUR_LATENTS = "our latents"
RECALL_AT = (1, 2, 5, 10, 20, 50)  # the k of recall at k
FRAMES_SEARCHED = 1000  # by an index, for each query
HITS_PER_QUERY = 5  # in neighbours.png


@dataclass(frozen=True)
class RetrievalOptions:
    """Options of a retrieval evaluation; UserError for values out of range."""

    find_clip: Callable[[str | Path], Clip]
    cache: Path  # folder of the teacher's features
    protocols: Sequence[str] = tuple(PROTOCOLS)
    protocol_options: ProtocolOptions = field(default_factory=ProtocolOptions)
    frame_stride: int = 1
    index: IndexOptions = field(default_factory=IndexOptions)  # measured beside all inner products
    neighbours: int = 6  # queries in neighbours.png
    about: Mapping[str, Any] = field(default_factory=dict)  # further entries of the result
    open_wandb: Callable[[Path], Any] | None = None  # opens a W&B run in a folder

    def __post_init__(self) -> None:
        unknown = set(self.protocols) - set(PROTOCOLS)
        if unknown or not self.protocols:
            raise UserError(f"retrieval.protocols={sorted(unknown)}: choose from {', '.join(PROTOCOLS)}")
        if not isinstance(self.neighbours, int) or self.neighbours < 1:
            raise UserError(f"retrieval.neighbours={self.neighbours}: choose a whole number from 1")


def evaluate_retrieval(collection: str | Path, folder: Path, options: RetrievalOptions) -> dict[str, Any]:
    """Evaluate and write result.json, queries.parquet, recall.png and neighbours.png to `folder`."""
    records = read_manifest(collection)
    gallery = subsample_gallery(options.frame_stride, read_gallery(collection, records))
    check_queries(collection, [records[index] for index in np.unique(gallery.video)], options.protocols)
    clip = options.find_clip(collection)
    check_same_space(clip.embedding_space, gallery.embedding_space, "the teacher", f"collection {collection}")
    print_left_out(gallery.left_out)
    results = {
        name: run_protocols(
            options.protocols, records, gallery._replace(vectors=vectors), clip, options.protocol_options
        )
        for name, vectors in embeddings_by_method(options.cache, collection, records, gallery, clip).items()
    }
    if options.index.kind != "exact":
        indexed = gallery._replace(search=search_of(open_collection(collection, options.index), gallery))
        frame_protocols = [name for name in options.protocols if name != "video"]  # an index finds frames
        results[f"{OUR_LATENTS}, {options.index.kind}"] = run_protocols(
            frame_protocols, records, indexed, clip, options.protocol_options
        )
    rows = [recall_row(name, each) for name, method_results in results.items() for each in method_results]
    _write_queries(results, folder / "queries.parquet")
    draw_recall(rows, folder / "recall")
    draw_neighbours(neighbours(options.neighbours, collection, records, gallery, clip), folder / "neighbours.png")
    result = {**options.about, **_summary(records), "retrieval": [row._asdict() for row in rows]}
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    if options.open_wandb is not None:
        run = options.open_wandb(folder)
        log_recall(run, rows)
        run.finish()
    print(f"{recall_table(rows)}\nlook at {folder}: recall.png, neighbours.png, queries.parquet, result.json")
    return result


def check_queries(collection: str | Path, videos: Sequence[AnnotatedVideo], protocols: Sequence[str]) -> None:
    """UserError unless one of the `videos` has what one of the `protocols` takes its queries from."""
    queries = {
        "class": ("labels", any(video.label for video in videos)),
        "segment": ("segments", any(video.segments for video in videos)),
        "video": ("captions", any(video.captions for video in videos)),
    }
    if not any(queries[name][1] for name in protocols):
        lacking = ", ".join(queries[name][0] for name in protocols)
        remedy = "add captions.csv, or NAME.txt beside NAME.mp4, and run the same task=collect again, which keeps files"
        raise UserError(f"collection={collection}: no queries, as its videos have no {lacking}; {remedy}")


def subsample_gallery(stride: int, gallery: Gallery) -> Gallery:
    """Every `stride`-th frame of each video."""
    if not isinstance(stride, int) or stride < 1:
        raise UserError(f"retrieval.frame_stride={stride}: choose a whole number from 1")
    kept = gallery.frame % stride == 0
    each = {name: getattr(gallery, name)[kept] for name in ("vectors", "video", "frame", "seconds")}
    return gallery._replace(**each)


def search_of(
    collection: OpenCollection, gallery: Gallery
) -> Callable[[NDArray[np.float32]], Iterator[NDArray[np.float32]]]:
    """A search of the gallery's frames by the index of the collection; see `Gallery.search`."""
    wanted = min(FRAMES_SEARCHED, len(collection.vectors))
    numbers = (gallery.video << 32) + gallery.frame  # ascending

    def search(queries: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        for scores, rows in zip(*collection.vectors.search(queries, wanted), strict=True):
            videos, frames = collection.rows.places(rows[rows >= 0])
            found = (videos << 32) + frames
            places = np.minimum(np.searchsorted(numbers, found), len(numbers) - 1)
            kept = numbers[places] == found  # others are left out by the stride
            row = np.full(len(numbers), -np.inf, np.float32)
            row[places[kept]] = scores[rows >= 0][kept]
            yield row

    return search


def embeddings_by_method(
    cache: Path, collection: str | Path, records: Sequence[Record], gallery: Gallery, clip: Clip
) -> Mapping[str, NDArray[np.float32]]:
    """method -> its embeddings (N, S) of the gallery's frames; a method whose videos cannot be read is left out."""

    def true_frames(record: Record) -> NDArray[np.float32]:
        with original(record) as source:
            return teacher_features(source.read, range(record.frames), clip, cache).numpy()

    def decoded_frames(record: Record) -> NDArray[np.float32]:
        model = read_video(FileRanges(file_address(collection, record.path)), clip.device)
        return clip.embed_frames(model.render(range(record.frames))).numpy()

    embedded: dict[str, NDArray[np.float32]] = {}
    for name, embed in (("CLIP, true frames", true_frames), ("CLIP, decoded frames", decoded_frames)):
        try:
            embedded[name] = _embed_videos(name, records, gallery, embed)
        except UserError as error:
            print(f"{name}: left out, {error}")
    noise = np.random.default_rng(0).standard_normal(gallery.vectors.shape, np.float32)
    return {**embedded, OUR_LATENTS: gallery.vectors, "random latents": unit(noise)}


def _embed_videos(
    name: str, records: Sequence[Record], gallery: Gallery, embed: Callable[[Record], NDArray[np.float32]]
) -> NDArray[np.float32]:
    parts = []
    for video_index in ProgressBar(np.unique(gallery.video), name, unit="video", leave=False):
        parts.append(embed(records[video_index])[gallery.frame[gallery.video == video_index]])
    return np.concatenate(parts)


def run_protocols(
    protocols: Iterable[str], videos: Sequence[AnnotatedVideo], gallery: Gallery, clip: Clip, options: ProtocolOptions
) -> list[ProtocolResult]:
    """The results of these protocols on one gallery."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return clip.embed_texts(texts).numpy()

    return [result for name in protocols for result in PROTOCOLS[name](videos, gallery, embed, options)]


def recall_row(name: str, result: ProtocolResult) -> RecallRow:
    """The row of the recall table for `result`."""
    curve = {k: recall(result.ranks, k) for k in RECALL_AT}
    return RecallRow(result.protocol, name, **result.scores._asdict(), curve=curve)


def neighbours(
    wanted: int, collection: str | Path, records: Sequence[Record], gallery: Gallery, clip: Clip
) -> dict[str, list[HitImage]]:
    """query -> decoded frames found by latents, marked correct or not by class, or by caption (Fig. 7, 12)."""
    labels = sorted({record.label for record in records if record.label})
    positives = {label: [record.label == label for record in records] for label in labels} or {
        caption: [caption in record.captions for record in records] for record in records for caption in record.captions
    }
    chosen = list(positives)[:: max(1, len(positives) // wanted)][:wanted]
    found = {}
    for query, vector in zip(chosen, clip.embed_texts(chosen).numpy(), strict=True) if chosen else ():
        best: dict[int, int] = {}  # video -> its best frame
        for row in np.argsort(-(gallery.vectors @ vector), kind="stable"):
            best.setdefault(int(gallery.video[row]), int(gallery.frame[row]))
            if len(best) == HITS_PER_QUERY:
                break
        found[query] = [
            HitImage(
                records[video_index].id,
                decode_picture(collection, records[video_index], frame),
                positives[query][video_index],
            )
            for video_index, frame in best.items()
        ]
    return found


def _write_queries(results: Mapping[str, Sequence[ProtocolResult]], target: Path) -> None:
    """Write a row for each query of each method, with its rank; null for a query without positives."""
    rows = [
        {"method": name, "protocol": each.protocol, "query": query, "rank": None if np.isnan(rank) else float(rank)}
        for name, method_results in results.items()
        for each in method_results
        for query, rank in zip(each.queries, each.ranks, strict=True)
    ]
    with writing(target) as draft:
        pq.write_table(pa.Table.from_pylist(rows), draft)


def _summary(records: Sequence[Record]) -> dict[str, Any]:
    """The figures of a collection under the names of those of one fit: sums of bytes and seconds, else means."""
    cosines = [record.cos_seen for record in records if record.cos_seen is not None]
    return {
        "videos": len(records),
        "frames": sum(record.frames for record in records),
        "bytes": sum(record.bytes for record in records),
        "bpp": fmean(record.bpp for record in records),
        "psnr": fmean(record.psnr for record in records),
        "cos_seen": fmean(cosines) if cosines else None,
        "fit_seconds": sum(record.fit_seconds for record in records),
    }
