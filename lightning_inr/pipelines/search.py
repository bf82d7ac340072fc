"""Moments of a collection that are nearest to words, an image, or a frame of another file."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lightning_inr.codec import decode
from lightning_inr.errors import UserError, printable
from lightning_inr.paths import existing, read_bytes, write_text
from lightning_inr.pipelines.provenance import load_options
from lightning_inr.report.hits import Shown, draw_hits
from lightning_inr.retrieval.collection import Record
from lightning_inr.retrieval.gallery import read_model, unit
from lightning_inr.retrieval.query import Hit, OpenCollection, check_teacher, search_collection
from lightning_inr.teachers.clip import Clip, load_clip


@dataclass(frozen=True)
class Query:
    """What is searched for: one of text, an image, or a frame of a `.linr` file."""

    text: str | None = None
    image: str | None = None  # a path
    file: str | None = None  # a path
    frame: float = 0.0  # frame position in `file`
    prompt: str = "{}"  # the text that is embedded, the query in place of {}

    def __post_init__(self) -> None:
        given = [f"{name}={value}" for name, value in self.given.items()]
        if len(given) != 1:
            raise UserError(f"{' '.join(given) or 'query'}: give one of query=…, image=… and query_file=…")

    @property
    def given(self) -> dict[str, str]:
        """Option name -> its value, of the one that is given."""
        each = {"query": self.text, "image": self.image, "query_file": self.file}
        return {name: value for name, value in each.items() if value is not None}


def find(collection: OpenCollection, query: Query, k: int, per: str, find_clip: Callable[[Path], Clip]) -> list[Hit]:
    """The `k` best hits; `find_clip` gives the collection's teacher, and is not called for a query by file."""
    return search_collection(collection, query_vector(query, collection, find_clip), k, per)


@torch.inference_mode()
def query_vector(query: Query, collection: OpenCollection, find_clip: Callable[[Path], Clip]) -> NDArray[np.float32]:
    """(S,) of length 1 in the collection's embedding space; UserError if the query cannot be embedded there."""
    if query.file is not None:
        model = read_model(Path(query.file))
        if model.embedding_space is None:
            raise UserError(
                f"query_file={query.file}: no teacher has aligned it; fit it with module=alignment teacher=clip"
            )
        if not 0 <= query.frame <= model.video.frames - 1:
            raise UserError(f"query_frame={query.frame}: {query.file} has frames 0 to {model.video.frames - 1}")
        vector = unit(model.frame_embeddings(torch.tensor([float(query.frame)])).numpy())[0]
        check_teacher(collection, model.embedding_space)
        return vector
    clip = find_clip(collection.folder)
    check_teacher(collection, clip.embedding_space)
    if query.image is not None:
        return clip.embed_frames([read_image(query.image)]).numpy()[0]
    if not str(query.text).strip():
        raise UserError('query: it is empty; describe what is searched for, as in query="a red ball"')
    text = query.prompt.replace("{}", str(query.text))
    if warning := clip.unreadable(text):
        print(f"warning: {warning}")
    return clip.embed_texts([text]).numpy()[0]


def clip_of_collection(folder: Path, device: str = "auto") -> Clip:
    """The teacher that the collection's own configuration names; UserError if it names none."""
    noted = (load_options(folder / "config.yaml") or {}).get("teacher")
    if not isinstance(noted, dict) or not isinstance(noted.get("weights"), str):
        raise UserError(f"collection={folder} does not name its teacher; add teacher=clip")
    # Two plain values are taken, and never a function that the file names.
    return load_clip(noted.get("model"), noted["weights"], device)


def write_hits(collection: OpenCollection, query: Query, hits: Sequence[Hit], folder: Path) -> None:
    """hits.json, and hits.png with the decoded frames."""
    [(option, text)] = query.given.items()
    found = [{"id": hit.record.id, "frame": hit.frame, "seconds": hit.seconds, "score": hit.score} for hit in hits]
    write_text(folder / "hits.json", json.dumps({option: text, "hits": found}, indent=2) + "\n")
    shown = [Shown(_title(hit), picture_of(collection.folder, hit.record, hit.frame)) for hit in hits]
    draw_hits(text, shown, folder / "hits.png")


def picture_of(folder: Path, record: Record, frame: int) -> torch.Tensor:
    """A frame of a collection's file, (3, H, W) uint8; grey, and a line with the reason, if it cannot be decoded.

    A search reads latents alone, so it finds frames of files whose other sections are damaged.
    """
    try:
        return next(decode(read_bytes(folder / record.path, "bitstream")).render([frame]))
    except UserError as error:
        print(printable(f"not drawn: {record.path}: {error}"))
        return torch.full((3, record.height, record.width), 128, dtype=torch.uint8)


def read_image(path: str) -> torch.Tensor:
    """(3, H, W) uint8; UserError if it is no image."""
    try:
        with Image.open(existing(path, "image")) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"image={path}: not an image that Pillow reads ({error}); give another") from error


def _title(hit: Hit) -> str:
    return f"{hit.record.id}, {hit.seconds:.2f} s\n{hit.score:.3f}"


def print_left_out(left_out: Mapping[str, str]) -> None:
    """A line for each reason, naming some of the videos that it holds for."""
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        print(printable(f"left out: {len(names)} of the videos ({some}): {reason}"))
