"""Search of a collection for frames by a text, an image, or a frame of another file."""

from pathlib import Path

from omegaconf import DictConfig

from lightning_inr.configuration.queries import clip_finder, index_options
from lightning_inr.errors import printable
from lightning_inr.pipelines.search import Query, find_hits, print_left_out, write_hits
from lightning_inr.retrieval.query import Hit, open_collection


def run(cfg: DictConfig) -> list[Hit]:
    """Print the hits, and write hits.json and hits.png, with their decoded frames, to `out`."""
    text = None if cfg.query is None else str(cfg.query)
    query = Query(text, cfg.image, cfg.query_file, cfg.query_frame, str(cfg.prompt))
    collection = open_collection(cfg.collection, index_options(cfg))
    print_left_out(collection.left_out)
    hits = find_hits(collection, query, cfg.k, cfg.per, clip_finder(cfg))
    write_hits(collection, query, hits, Path(cfg.out))
    for hit in hits:
        print(f"{hit.score:7.4f}  {hit.seconds:8.2f} s  {printable(hit.record.path)}")
    print(f"look at {Path(cfg.out) / 'hits.png'}")
    return hits
