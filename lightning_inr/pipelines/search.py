"""Search of a collection for frames by a text, an image, or a frame of another file."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lightning_inr.codec import read_video
from lightning_inr.errors import UserError, printable
from lightning_inr.paths import existing, write_text
from lightning_inr.pipelines.provenance import parse_options
from lightning_inr.ranges import FileRanges
from lightning_inr.report.hits import HitImage, draw_hits
from lightning_inr.retrieval.collection import Record, file_address
from lightning_inr.retrieval.gallery import read_model, unit
from lightning_inr.retrieval.query import Hit, OpenCollection, check_teacher, search_collection
from lightning_inr.storage import open_folder
from lightning_inr.teachers.clip import Clip, load_clip


@dataclass(frozen=True)
class Query:
    """A query: one of a text, an image, or a frame of a `.linr` file."""

    text: str | None = None
    image: str | None = None  # a path
    file: str | None = None  # a path
    frame: float = 0.0  # frame position in `file`
    prompt: str = "{}"  # {} is replaced by the text before it is embedded

    def __post_init__(self) -> None:
        given = [f"{name}={value}" for name, value in self.given.items()]
        if len(given) != 1:
            raise UserError(f"{' '.join(given) or 'query'}: give one of query=…, image=… and query_file=…")

    @property
    def given(self) -> dict[str, str]:
        """Option name -> value, for the options that are given."""
        each = {"query": self.text, "image": self.image, "query_file": self.file}
        return {name: value for name, value in each.items() if value is not None}


def find_hits(
    collection: OpenCollection, query: Query, k: int, per: str, find_clip: Callable[[str | Path], Clip]
) -> list[Hit]:
    """The `k` best hits; `find_clip` gives the collection's teacher, and is not called for a query by file."""
    return search_collection(collection, query_vector(query, collection, find_clip), k, per)


@torch.inference_mode()
def query_vector(
    query: Query, collection: OpenCollection, find_clip: Callable[[str | Path], Clip]
) -> NDArray[np.float32]:
    """(S,) of length 1 in the collection's embedding space; UserError if the query cannot be embedded there."""
    if query.file is not None:
        model = read_model(query.file)
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
    if warning := clip.readability_warning(text):
        print(f"warning: {warning}")
    return clip.embed_texts([text]).numpy()[0]


def clip_of_collection(folder: str | Path, device: str = "auto") -> Clip:
    """The teacher named in the collection's config.yaml; UserError if there is none."""
    try:
        recorded = open_folder(folder, "collection").read("config.yaml")
    except FileNotFoundError:
        recorded = b"{}"
    teacher = parse_options(recorded, file_address(folder, "config.yaml")).get("teacher")
    if not isinstance(teacher, dict) or not isinstance(teacher.get("weights"), str):
        raise UserError(f"collection={folder} does not name its teacher; add teacher=clip")
    # Only these two strings are used; a function that the file names is never called.
    return load_clip(teacher.get("model"), teacher["weights"], device)


def write_hits(collection: OpenCollection, query: Query, hits: Sequence[Hit], folder: Path) -> None:
    """Write hits.json, and hits.png with the decoded frames, to `folder`."""
    [(option, text)] = query.given.items()
    found = [{"id": hit.record.id, "frame": hit.frame, "seconds": hit.seconds, "score": hit.score} for hit in hits]
    write_text(folder / "hits.json", json.dumps({option: text, "hits": found}, indent=2) + "\n")
    images = [HitImage(_title(hit), decode_picture(collection.folder, hit.record, hit.frame)) for hit in hits]
    draw_hits(text, images, folder / "hits.png")


def decode_picture(folder: str | Path, record: Record, frame: int) -> torch.Tensor:
    """A decoded frame of a collection, (3, H, W) uint8; grey, with the reason printed, if it cannot be decoded.

    A search reads latents only, so a hit may be in a file whose other sections are damaged.
    """
    try:
        return next(read_video(FileRanges(file_address(folder, record.path))).render([frame]))
    except UserError as error:
        print(printable(f"not drawn: {record.path}: {error}"))
        return torch.full((3, record.height, record.width), 128, dtype=torch.uint8)


def read_image(path: str) -> torch.Tensor:
    """The image at `path`, (3, H, W) uint8 RGB; UserError if Pillow cannot read it."""
    try:
        with Image.open(existing(path, "image")) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"image={path}: not an image that Pillow reads ({error}); give another") from error


def _title(hit: Hit) -> str:
    return f"{hit.record.id}, {hit.seconds:.2f} s\n{hit.score:.3f}"


def print_left_out(left_out: Mapping[str, str]) -> None:
    """Print each reason with the number and some names of the videos that were left out for it."""
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, value in left_out.items() if value == reason]
        listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        print(printable(f"left out: {len(names)} of the videos ({listed}): {reason}"))
