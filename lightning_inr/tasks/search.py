"""Find moments of a collection by words, by an image, or by a frame of another file."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image, UnidentifiedImageError

from lightning_inr.codec import decode
from lightning_inr.errors import UserError, printable
from lightning_inr.paths import existing, read_bytes, write_text
from lightning_inr.report.hits import Shown, draw_hits
from lightning_inr.retrieval.gallery import read_model, unit
from lightning_inr.retrieval.query import Hit, OpenCollection, check_teacher, open_collection, search
from lightning_inr.tasks.provenance import load_config
from lightning_inr.teachers.clip import Clip, load_clip


def run(cfg: DictConfig) -> list[Hit]:
    """Print the hits; hits.json, and hits.png with their frames decoded, go to `out`."""
    ways = [name for name in ("query", "image", "query_file") if cfg[name] is not None]
    if len(ways) != 1:
        raise UserError(f"{' '.join(ways) or 'query'}: give one of query=…, image=… and query_file=…")
    collection = open_collection(cfg.collection, cfg.index)
    print_left_out(collection.left_out)
    hits = search(collection, query_vector(cfg, collection), cfg.k, cfg.per)
    asked = str(cfg[ways[0]])
    folder = Path(cfg.out)
    draw_hits(asked, [Shown(_title(hit), _frame(collection, hit)) for hit in hits], folder / "hits.png")
    found = [{"id": hit.record.id, "frame": hit.frame, "seconds": hit.seconds, "score": hit.score} for hit in hits]
    write_text(folder / "hits.json", json.dumps({ways[0]: asked, "hits": found}, indent=2) + "\n")
    for hit in hits:
        print(f"{hit.score:7.4f}  {hit.seconds:8.2f} s  {printable(hit.record.path)}")
    print(f"look at {folder / 'hits.png'}")
    return hits


@torch.inference_mode()
def query_vector(cfg: DictConfig, collection: OpenCollection) -> NDArray[np.float32]:
    """(S,) of length 1: what is asked for, in the collection's space; UserError if that cannot be said in it."""
    if cfg.query_file is not None:
        model = read_model(Path(cfg.query_file))
        if model.embedding_space is None:
            raise UserError(
                f"query_file={cfg.query_file}: no teacher has aligned it; fit it with module=alignment teacher=clip"
            )
        if not 0 <= cfg.query_frame <= model.video.frames - 1:
            raise UserError(f"query_frame={cfg.query_frame}: {cfg.query_file} has frames 0 to {model.video.frames - 1}")
        vector = unit(model.frame_embeddings(torch.tensor([float(cfg.query_frame)])).numpy())[0]
        check_teacher(collection, model.embedding_space)
        return vector
    clip = find_teacher(cfg, collection.folder)
    check_teacher(collection, clip.embedding_space)
    if cfg.image is not None:
        return clip.embed_frames([read_image(cfg.image)]).numpy()[0]
    if not str(cfg.query).strip():
        raise UserError('query: it is empty; say what should be seen, as in query="a red ball"')
    text = str(cfg.prompt).replace("{}", str(cfg.query))
    if warning := clip.unreadable(text):
        print(f"warning: {warning}")
    return clip.embed_texts([text]).numpy()[0]


def find_teacher(cfg: DictConfig, folder: Path) -> Clip:
    """The `teacher` of the command line, or else the one that the collection's own configuration names."""
    if cfg.teacher is not None:
        clip: Clip = instantiate(cfg.teacher)
        return clip
    noted = (load_config(folder / "config.yaml") or {}).get("teacher")
    if not isinstance(noted, dict) or not isinstance(noted.get("weights"), str):
        raise UserError(f"collection={folder} does not say who its teacher was; add teacher=clip")
    # Two plain values are taken, and not what the file would have us call.
    return load_clip(noted.get("model"), noted["weights"], cfg.device)


def read_image(path: str) -> torch.Tensor:
    """(3, H, W) uint8; UserError if it is no image."""
    try:
        with Image.open(existing(path, "image")) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"image={path}: not an image that Pillow reads ({error}); give another") from error


def _frame(collection: OpenCollection, hit: Hit) -> torch.Tensor:
    model = decode(read_bytes(collection.folder / hit.record.path, "bitstream"))
    return next(model.render([hit.frame]))


def _title(hit: Hit) -> str:
    return f"{hit.record.id}, {hit.seconds:.2f} s\n{hit.score:.3f}"


def print_left_out(left_out: Mapping[str, str]) -> None:
    """A line for each reason, naming some of the videos that it holds for."""
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        print(printable(f"left out: {len(names)} of the videos ({some}): {reason}"))
