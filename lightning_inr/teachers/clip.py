"""CLIP (Radford et al., ICML 2021) through open_clip, which embeds frames and texts in one space."""

import hashlib
import json
import logging
import os
import pickle
import reprlib
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.types import EmbeddingSpace

FRAMING = 2  # tokens of a text that mark its start and end
Item = TypeVar("Item")


class Clip:
    """A CLIP teacher; `embedding_space` identifies its model, weights and preprocessing."""

    def __init__(
        self, model: nn.Module, prepare: Callable[[Image.Image], Tensor], tokenizer: Any, space: EmbeddingSpace
    ) -> None:
        self.model: Any = model.eval()  # a new model is in training mode, in which some drop patches
        self.prepare, self.tokenizer, self.embedding_space = prepare, tokenizer, space
        self.device = next(model.parameters()).device

    def embed_frames(self, frames: Iterable[Tensor], batch: int = 32) -> Tensor:
        """Embed frames (3, H, W) uint8 RGB of any sizes: (N, width) float32 on the CPU, length 1; `batch` at a time."""
        return self._embed(self._encode_frames, frames, batch)

    def embed_texts(self, texts: Sequence[str], batch: int = 256) -> Tensor:
        """Embed texts: (N, width) float32 on the CPU, of length 1; UserError for an empty text."""
        for text in texts:
            if self._tokens(text) == 0:
                raise UserError(f"query={text!r}: an empty text describes nothing; describe the frames")
        return self._embed(self._encode_texts, texts, batch)

    def readability_warning(self, text: str) -> str | None:
        """A one-line warning if the teacher cannot embed all of `text` well, else None.

        That is the case if most letters are in words of a script other than Latin for which the tokenizer needs at
        least one token per letter, or if the text is longer than the teacher's context.
        """
        prefix = f"query={reprlib.repr(text)}: {self.embedding_space.teacher}"
        non_latin = [word for word in text.split() if any(map(_is_non_latin_letter, word))]
        letters = _letters("".join(non_latin))
        if 2 * letters > _letters(text) and self._tokens(" ".join(non_latin)) >= letters:
            return f"{prefix} has no tokens for words of this script; write the query in English"
        most, count = self.tokenizer.context_length - FRAMING, self._tokens(text)
        if count > most:
            return f"{prefix} reads {most} tokens, the last {count - most} are cut; shorten the query"
        return None

    def _embed(self, encode: Callable[[list[Item]], Tensor], items: Iterable[Item], batch: int) -> Tensor:
        embedded = [torch.empty(0, self.embedding_space.width)]
        with torch.inference_mode():
            embedded += [encode(group).float().cpu() for group in _batches(items, batch)]
        return torch.cat(embedded)  # outside of inference mode: inference tensors cannot enter a loss

    def _encode_frames(self, frames: list[Tensor]) -> Tensor:
        images = [self.prepare(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in frames]
        return self.model.encode_image(torch.stack(images).to(self.device), normalize=True)

    def _encode_texts(self, texts: list[str]) -> Tensor:
        return self.model.encode_text(self.tokenizer(texts).to(self.device), normalize=True)

    def _tokens(self, text: str) -> int:
        """Number of tokens of `text`, without the two that mark its start and end."""
        tokenizer = self.tokenizer  # open_clip's own, or its wrapper around one of Hugging Face's
        return len(tokenizer.encode(text) if hasattr(tokenizer, "encode") else tokenizer.tokenizer.tokenize(text))


def load_clip(model: str | None = "ViT-B-32-quickgelu", weights: str = "openai", device: str = "auto") -> Clip:
    """Load CLIP with `weights` from a pretrained tag of `model`, a file, or an open_clip folder.

    A folder contains its own model configuration, and `model` is ignored. UserError if any part is missing or unusable:
    weights are never initialised at random. A file may hold tensors only; code in it is not run.
    """
    chosen = choose_device(device)
    with _quiet():
        origin = _find(model, weights)
        try:
            return _load(origin, chosen)
        except UserError:
            raise
        except Exception as error:  # open_clip raises errors of many types for a damaged or foreign file
            raise UserError(f"teacher.weights={weights}: {origin.failure(error)}") from error


class _Origin(NamedTuple):
    """Source of a model, in open_clip's terms."""

    model: str
    weights: str | None
    teacher: str  # name of the teacher, for display
    folder: Path | None = None
    tagged: bool = False
    quick_gelu: bool = False  # needed by weights that were trained with it

    def failure(self, error: Exception) -> str:
        """One line: why loading failed and what to do; the text of `error` may be long and give unsafe advice."""
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        if self.tagged:
            return f"{reason}; check the network, or name a file or an open_clip folder"
        if "TorchScript" in str(error):
            return (
                "a program (TorchScript), which is not run; choose teacher.weights=openai, or save its state_dict alone"
            )
        if isinstance(error, pickle.UnpicklingError):
            return "damaged, or more than tensors, which is not loaded; save its state_dict as .safetensors"
        return f"damaged, or not the weights of {self.teacher} ({reason}); give its whole state_dict"


def _find(model: str | None, weights: str) -> _Origin:
    """Resolve `weights` as a tag, else a folder, else a file; UserError with the available tags otherwise."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    path = Path(weights).expanduser()
    name = (model or "").replace("/", "-")
    tag = get_pretrained_cfg(name, weights) if name in open_clip.list_models() else None
    if tag:
        quick = bool(tag.get("quick_gelu"))
        return _Origin(name, weights, f"{name}/{weights}", tagged=True, quick_gelu=quick)
    if os.path.isdir(path):  # not Path.is_dir, which can raise OSError
        return _Origin(f"local-dir:{path}", None, path.resolve().name, folder=path)
    if model is None:
        raise UserError(
            f"teacher.weights={weights}: no such folder; make one with task=train_shapes_clip, or name another"
        )
    if name not in open_clip.list_models():
        closest = get_close_matches(name, open_clip.list_models(), 5, 0.3) or ["ViT-B-32-quickgelu"]
        raise UserError(f"teacher.model={model}: open_clip has no such model; choose for example {', '.join(closest)}")
    if os.path.isfile(path):
        return _Origin(name, str(path), f"{name}/{path.name}")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    raise UserError(f"teacher.weights={weights}: no such file, folder or pretrained tag; tags of {name}: {tags}")


def _load(origin: _Origin, device: torch.device) -> Clip:
    import open_clip

    if origin.folder:
        _check_folder(origin.model, origin.folder)
    architecture = open_clip.get_model_config(origin.model)
    architecture["quick_gelu"] = origin.quick_gelu or architecture.get("quick_gelu", False)
    model, prepare = open_clip.create_model_from_pretrained(
        origin.model, origin.weights, device=device, force_quick_gelu=origin.quick_gelu
    )
    fingerprint = _fingerprint(model, architecture)
    space = EmbeddingSpace(origin.teacher, fingerprint, architecture["embed_dim"])
    return Clip(model, prepare, open_clip.get_tokenizer(origin.model), space)


def _check_folder(name: str, folder: Path) -> None:
    """UserError for a folder without an open_clip configuration, with remote code, or with too few bytes of weights."""
    import open_clip

    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise UserError(f"teacher.weights={folder}: no {config.name} there; name an open_clip folder, or a file")
    if "trust_remote_code" in json.dumps(open_clip.get_model_config(name)):
        raise UserError(f"teacher.weights={folder}: {config.name} asks to run code (trust_remote_code); remove it")
    with torch.device("meta"):  # takes no memory
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta")
    numbers = sum(parameter.numel() for parameter in model.parameters())
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    if numbers > size:
        raise UserError(
            f"teacher.weights={folder}: {config.name} describes {numbers} numbers, but the weights beside it are "
            f"missing or cut ({size} bytes); get the whole folder again"
        )


def _fingerprint(model: Any, architecture: dict[str, Any]) -> str:
    """Hexadecimal digest of all that determines embeddings: weights, architecture and preprocessing."""
    described = json.dumps([architecture, model.visual.preprocess_cfg], sort_keys=True)
    digest = hashlib.blake2b(described.encode(), digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress open_clip's log, which would configure the root logger for the whole process."""
    root, before, silent = logging.getLogger(), logging.root.manager.disable, logging.NullHandler()
    root.addHandler(silent)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(silent)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def _is_non_latin_letter(character: str) -> bool:
    return character.isalpha() and "LATIN" not in unicodedata.name(character, "")
