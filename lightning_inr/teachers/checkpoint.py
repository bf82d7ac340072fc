"""Weight files of a model on disk: their location, and a fingerprint of the model."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.utils.hub import cached_file

SAMPLE = 4096  # numbers of a tensor that go into a fingerprint, about
# Config entries that go into the fingerprint of a language model. Not all: new releases of transformers add entries,
# and the fingerprints stored in existing files must stay valid.
ARCHITECTURE = (
    "model_type", "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "vocab_size",
)  # fmt: skip


def find_weights(model: str) -> dict[str, Path]:
    """Map each tensor name in the checkpoint of a hub id or folder to the safetensors file that holds the tensor.

    OSError if there is no checkpoint.
    """
    index = cached_file(model, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
    if index is None:
        names = ["model.safetensors"]
    else:
        names = sorted(set(json.loads(Path(index).read_text())["weight_map"].values()))
    files = [Path(str(cached_file(model, name))) for name in names]
    return {key: file for file in files for key in _keys(file)}


def fingerprint(config: Mapping[str, Any], weights: Mapping[str, Path]) -> str:
    """Hexadecimal digest of a language model: its architecture, and samples of its embeddings and norms as bfloat16.

    The samples are read from the files, so that precision, quantisation and device do not matter. The vision tower is
    left out. ValueError if there are no word embeddings.
    """
    embeddings = next((key for key in sorted(weights) if key.endswith("embed_tokens.weight")), None)
    if embeddings is None:
        raise ValueError("no word embeddings")
    start = embeddings.removesuffix("embed_tokens.weight")
    names = [key for key in weights if key.startswith(start) and key.endswith("norm.weight")]
    names = [key for key in names if key.removeprefix(start).startswith(("norm", "layers"))]
    language = config.get("text_config", config)
    samples = ((key.removeprefix(start), _sample(key, weights[key])) for key in [embeddings, *sorted(names)])
    return digest({key: language.get(key) for key in ARCHITECTURE}, samples)


def digest(values: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Hexadecimal digest of JSON `values` and of named tensors as bfloat16."""
    found = hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=8)
    for name, tensor in tensors:
        found.update(name.encode())
        found.update(tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _keys(file: Path) -> list[str]:
    with safe_open(str(file), framework="pt") as opened:
        return list(opened.keys())


def _sample(key: str, file: Path) -> Tensor:
    """Evenly spaced rows of a tensor with about SAMPLE numbers in total."""
    with safe_open(str(file), framework="pt") as opened:
        rows = opened.get_slice(key)
        count, *rest = rows.get_shape()
        taken = max(1, SAMPLE // max(1, *rest)) if rest else SAMPLE
        step = max(1, count // taken)
        return torch.cat([rows[place : place + 1] for place in range(0, count, step)]) if rest else rows[:]
