"""How well a collection is found by words: what its files say, beside CLIP itself and beside chance."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from tqdm import tqdm

from lightning_inr.codec import decode
from lightning_inr.data.features import default_cache, teacher_features
from lightning_inr.errors import UserError
from lightning_inr.paths import read_bytes, write_text, writing
from lightning_inr.report.hits import Shown, draw_neighbours
from lightning_inr.report.recall import Row, draw_recall, recall_table
from lightning_inr.report.wandb_report import log_recall
from lightning_inr.retrieval.collection import Record, open_original, read_manifest
from lightning_inr.retrieval.gallery import Gallery, check_same_space, read_gallery, unit
from lightning_inr.retrieval.protocols import PROTOCOLS, Asked, Described, Options
from lightning_inr.retrieval.scores import recall
from lightning_inr.tasks.collect import collect
from lightning_inr.tasks.provenance import provenance
from lightning_inr.tasks.search import find_teacher, print_left_out
from lightning_inr.teachers.clip import Clip

OURS = "our latents"
CURVE = (1, 2, 5, 10, 20, 50)  # the k of recall at k
HITS = 5  # a query, in the picture


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure `collection`; result.json, queries.parquet, recall.png and neighbours.png go to the run folder."""
    folder, collection = Path(cfg.run_dir), Path(cfg.collection or cfg.run_dir)
    if unknown := set(cfg.retrieval.protocols) - set(PROTOCOLS):
        raise UserError(f"retrieval.protocols={sorted(unknown)}: choose from {', '.join(PROTOCOLS)}")
    if not isinstance(cfg.retrieval.neighbours, int) or cfg.retrieval.neighbours < 1:
        raise UserError(f"retrieval.neighbours={cfg.retrieval.neighbours}: choose a whole number from 1")
    if cfg.collection is None:
        collect(cfg, collection)
    records = read_manifest(collection)
    clip = find_teacher(cfg, collection)
    gallery = every(cfg.retrieval.frame_stride, read_gallery(collection, records))
    check_same_space(clip.embedding_space, gallery.embedding_space, "the teacher", f"collection {collection}")
    print_left_out(gallery.left_out)
    options = Options(**{name: cfg.retrieval[name] for name in Options._fields})
    asked = {
        name: ask_all(cfg.retrieval.protocols, records, gallery._replace(vectors=vectors), clip, options)
        for name, vectors in galleries(cfg, collection, records, gallery, clip).items()
    }
    rows = [row_of(name, each) for name, all_asked in asked.items() for each in all_asked]
    if not rows:
        raise UserError(f"collection={collection}: nothing is said of its videos, so nothing can be asked for")
    _write_queries(asked, folder / "queries.parquet")
    draw_recall(rows, folder / "recall")
    draw_neighbours(neighbours(cfg, collection, records, gallery, clip), folder / "neighbours.png")
    result = {**_summary(cfg, collection, records), "retrieval": [row._asdict() for row in rows]}
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    if cfg.logger is not None and "project" in cfg.logger:
        board = instantiate(cfg.logger, save_dir=str(folder)).experiment
        log_recall(board, rows)
        board.finish()
    print(f"{recall_table(rows)}\nlook at {folder}: recall.png, neighbours.png, queries.parquet, result.json")
    return result


def every(stride: int, gallery: Gallery) -> Gallery:
    """Every `stride`-th frame of each video."""
    if not isinstance(stride, int) or stride < 1:
        raise UserError(f"retrieval.frame_stride={stride}: choose a whole number from 1")
    kept = gallery.frame % stride == 0
    each = {name: getattr(gallery, name)[kept] for name in ("vectors", "video", "frame", "seconds")}
    return gallery._replace(**each)


def galleries(
    cfg: DictConfig, collection: Path, records: Sequence[Record], gallery: Gallery, clip: Clip
) -> Mapping[str, NDArray[np.float32]]:
    """The same frames as four methods see them, (N, S) each; those on true frames only where the videos still are."""
    cache = Path(cfg.feature_cache or default_cache())

    def true_frames(record: Record) -> NDArray[np.float32]:
        source = open_original(record)
        return teacher_features(source.read, range(record.frames), clip, cache).numpy()

    def decoded_frames(record: Record) -> NDArray[np.float32]:
        model = decode(read_bytes(collection / record.path, "bitstream"), clip.device)
        return clip.embed_frames(model.render(range(record.frames))).numpy()

    seen: dict[str, NDArray[np.float32]] = {}
    for name, view in (("CLIP, true frames", true_frames), ("CLIP, decoded frames", decoded_frames)):
        try:
            seen[name] = _gather(name, records, gallery, view)
        except UserError as error:
            print(f"{name}: left out, {error}")
    noise = np.random.default_rng(0).standard_normal(gallery.vectors.shape, np.float32)
    return {**seen, OURS: gallery.vectors, "random latents": unit(noise)}


def _gather(
    name: str, records: Sequence[Record], gallery: Gallery, view: Callable[[Record], NDArray[np.float32]]
) -> NDArray[np.float32]:
    parts = []
    for place in tqdm(np.unique(gallery.video), name, unit="video", leave=False):
        parts.append(view(records[place])[gallery.frame[gallery.video == place]])
    return np.concatenate(parts)


def ask_all(
    protocols: Iterable[str], videos: Sequence[Described], gallery: Gallery, clip: Clip, options: Options
) -> list[Asked]:
    """Every one of these protocols on one gallery."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return clip.embed_texts(texts).numpy()

    return [asked for name in protocols for asked in PROTOCOLS[name](videos, gallery, embed, options)]


def row_of(name: str, asked: Asked) -> Row:
    """A line of the table."""
    curve = {k: recall(asked.ranks, k) for k in CURVE}
    return Row(asked.protocol, name, **asked.scores._asdict(), curve=curve)


def neighbours(
    cfg: DictConfig, collection: Path, records: Sequence[Record], gallery: Gallery, clip: Clip
) -> dict[str, list[Shown]]:
    """Some queries and the frames our latents find, decoded, right or wrong by class or by caption (Fig. 7, 12)."""
    labels = sorted({record.label for record in records if record.label})
    said = {label: [record.label == label for record in records] for label in labels} or {
        caption: [caption in record.captions for record in records] for record in records for caption in record.captions
    }
    wanted = cfg.retrieval.neighbours
    chosen = list(said)[:: max(1, len(said) // wanted)][:wanted]
    found = {}
    for query, vector in zip(chosen, clip.embed_texts(chosen).numpy(), strict=True) if chosen else ():
        best: dict[int, int] = {}  # of each video its best frame
        for row in np.argsort(-(gallery.vectors @ vector), kind="stable"):
            best.setdefault(int(gallery.video[row]), int(gallery.frame[row]))
            if len(best) == HITS:
                break
        found[query] = [
            Shown(records[place].id, _painted(collection, records[place], frame), said[query][place])
            for place, frame in best.items()
        ]
    return found


def _painted(collection: Path, record: Record, frame: int) -> Any:
    return next(decode(read_bytes(collection / record.path, "bitstream")).render([frame]))


def _write_queries(asked: Mapping[str, Sequence[Asked]], target: Path) -> None:
    """A line for each query of each method: its rank, null where there was nothing to be found."""
    rows = [
        {"method": name, "protocol": each.protocol, "query": query, "rank": None if np.isnan(rank) else float(rank)}
        for name, all_asked in asked.items()
        for each in all_asked
        for query, rank in zip(each.queries, each.ranks, strict=True)
    ]
    with writing(target) as draft:
        pq.write_table(pa.Table.from_pylist(rows), draft)


def _summary(cfg: DictConfig, collection: Path, records: Sequence[Record]) -> dict[str, Any]:
    """A collection's figures, named as those of one fit: sums of bytes and seconds, means of the rest."""
    angles = [record.cos_seen for record in records if record.cos_seen is not None]
    return {
        "model": cfg.preset,
        "rank": cfg.get("rank"),
        "video": collection.name if cfg.collection else cfg.dataset.listing._target_.rpartition("list_")[2],
        **provenance(cfg, "file"),
        "videos": len(records),
        "frames": sum(record.frames for record in records),
        "bytes": sum(record.bytes for record in records),
        "bpp": fmean(record.bpp for record in records),
        "psnr": fmean(record.psnr for record in records),
        "cos_seen": fmean(angles) if angles else None,
        "fit_seconds": sum(record.fit_seconds for record in records),
        "seed": cfg.seed,
    }
