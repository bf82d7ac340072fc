"""Reads the published weights of Video-LLaMA and BLIP-2, renamed for the classes of transformers."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_inr.errors import UserError
from lightning_inr.teachers.video_llama.tower import SIDE, Tower
from lightning_inr.teachers.video_llm.loading import quiet, reason, remedy

# Published names are those of LAVIS: a BERT with cross-attention, and EVA's vision transformer.
RENAMED = [
    (r"^(video_)?Qformer\.bert\.embeddings\.LayerNorm\.", r"\1qformer.layernorm."),
    (r"^(video_)?Qformer\.bert\.encoder\.", r"\1qformer.encoder."),
    (r"^(.*qformer\..*)\.(attention|crossattention)\.self\.", r"\1.\2.attention."),
    (r"^ln_vision\.", "vision_model.post_layernorm."),
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.blocks\.", "vision_model.encoder.layers."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.norm([12])\.", r"\1.layer_norm\2."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.attn\.proj\.", r"\1.self_attn.projection."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.attn\.", r"\1.self_attn."),
]
# Entries of a published training state that are not needed here: the audio branch, BERT's part for texts, and buffers
# of positions.
NEEDLESS = re.compile(
    r"^audio_|rotary_emb\.inv_freq$|position_ids$"
    r"|^(video_)?Qformer\.(cls\.|bert\.embeddings\.(word|position)_embeddings\.|bert\.encoder\.layer\.\d+\.(intermediate|output)\.)"
)
PROJECTION = "llama_proj."
BLIP2_PARTS = ("vision_model.", "qformer.", "query_tokens")
REMEDY = (
    "get one with `hf download DAMO-NLP-SG/Video-LLaMA-Series finetune-vicuna7b-v2.pth`, or of another language model"
)
Weights = dict[str, Tensor]


def read_published(path: str | None) -> Weights:
    """The tensors of a published checkpoint (`.pth` or `.safetensors`), renamed; those of `.pth` are memory-mapped.

    UserError for a file that is missing, is damaged, or holds more than tensors: code in it is not run.
    """
    if path is None:
        raise UserError(f"video_llm.weights=null: no checkpoint is named; {REMEDY}")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"video_llm.weights={path}: no such file; {REMEDY}")
    try:
        state = _open(file)
        state = state.get("model", state)  # beside "model" there is an optimiser's state
        state = {name: value for name, value in state.items() if not NEEDLESS.search(name)}
    except Exception as error:  # the readers raise errors of many types for a damaged or foreign file
        raise UserError(
            f"video_llm.weights={path}: damaged, or more than tensors, which is not loaded; {REMEDY}"
        ) from error
    if not all(map(_is_plain, state.values())):
        raise UserError(f"video_llm.weights={path}: no weights by name in it; {REMEDY}")
    return renamed(state)


def renamed(published: Weights) -> Weights:
    """Rename weights from their published names to those of `Tower`; names without a rule stay."""
    found: Weights = {}
    for name, value in published.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    return _with_whole_biases(found)


def read_projection(weights: Weights, path: str | None, width: int) -> nn.Linear:
    """`llama_proj`, which maps a token of `width` numbers to the language model; UserError if `weights` lack it."""
    part = {name: value for name, value in weights.items() if name.startswith(PROJECTION)}
    hidden = max((value.shape[0] for value in part.values() if value.ndim), default=1)
    projection = nn.Linear(width, hidden, device="meta")
    _fill(nn.ModuleDict({"llama_proj": projection}), part, path)
    return projection


def read_tower(weights: Weights, path: str | None, blip2: str) -> Tower:
    """The vision tower from the weights of BLIP-2 (hub id or folder) and the published ones, which take precedence.

    UserError if either is missing or does not fit the other, or if a weight is missing or unknown.
    """
    config, state = _read_blip2(blip2)
    state |= {name: value for name, value in weights.items() if not name.startswith(PROJECTION)}
    if config.vision_config.image_size != SIDE:
        raise UserError(
            f"video_llm.blip2={blip2}: its images have {config.vision_config.image_size} pixels a side, Video-LLaMA's "
            f"{SIDE}; name a BLIP-2 of that size"
        )
    places, tokens, _ = clip_shape(weights, path)
    with torch.device("meta"):
        tower = Tower(config, places, tokens)
    _fill(tower, state, path)
    return tower.float().eval()


def clip_shape(weights: Weights, path: str | None) -> tuple[int, int, int]:
    """Maximum of frames, tokens of a clip and their width; UserError if `weights` lack the tensors of these sizes."""
    needed = {"video_frame_position_embedding.weight": 2, "video_query_tokens": 3}
    lacking = [name for name, axes in needed.items() if name not in weights or weights[name].ndim != axes]
    if lacking:
        raise UserError(f"video_llm.weights={path}: {_listed(lacking)} missing; {REMEDY}")
    places, queries = (weights[name].shape for name in needed)
    return places[0], queries[1], queries[2]


def _open(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True, mmap=True)


def _is_plain(value: Any) -> bool:
    """Whether `value` is a dense tensor within its storage: an expanded view of a file may be of any size."""
    dense = isinstance(value, Tensor) and value.layout == torch.strided
    return dense and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _read_blip2(model: str) -> tuple[Any, Weights]:
    """BLIP-2's configuration and vision weights; from the hub, only the files with these weights are downloaded."""
    from safetensors import safe_open
    from transformers import Blip2Config

    try:
        with quiet():
            config, files = Blip2Config.from_pretrained(model), _files_of_parts(model)
        state: Weights = {}
        for file in files:
            with safe_open(file, "pt") as opened:
                names = [name for name in opened.keys() if name.startswith(BLIP2_PARTS)]  # noqa: SIM118  (not a dict)
                state |= {name: opened.get_tensor(name) for name in names}
    except Exception as error:  # the hub, a foreign folder and a damaged file raise errors of many types
        raise UserError(
            f"video_llm.blip2={model}: BLIP-2 is missing or damaged ({reason(error)}); {remedy(model)}"
        ) from error
    return config, state


def _files_of_parts(model: str) -> list[str]:
    from transformers.utils.hub import cached_file

    index = cached_file(model, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
    if index is None:
        return [str(cached_file(model, "model.safetensors"))]
    places = json.loads(Path(index).read_text())["weight_map"]
    names = {file for name, file in places.items() if name.startswith(BLIP2_PARTS)}
    return [str(cached_file(model, file)) for file in sorted(names)]


def _with_whole_biases(weights: Weights) -> Weights:
    """Join EVA's biases of queries and values to the one bias that transformers has; that of keys is zero."""
    for name in [name for name in weights if name.endswith(".self_attn.q_bias")]:
        query, value = weights.pop(name), weights.pop(name.replace("q_bias", "v_bias"), None)
        if value is not None:
            weights[name.replace("q_bias", "qkv.bias")] = torch.cat([query, torch.zeros_like(query), value])
    return weights


def _fill(module: nn.Module, weights: Weights, path: str | None) -> None:
    """Assign `weights` to `module`, which is on the meta device; UserError unless names and shapes match exactly."""
    advice = "give Video-LLaMA's checkpoint and the BLIP-2 it was trained on"
    try:
        lacking, unknown = module.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        shapes = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"video_llm.weights={path}: {shapes}; {advice}") from error
    for names, what in ((lacking, "missing"), (unknown, "unknown")):
        if names:
            raise UserError(f"video_llm.weights={path}: {_listed(names)} {what}; {advice}")


def _listed(names: Iterable[str]) -> str:
    first, *rest = sorted(names)
    listed = ", ".join([first, *rest[:2]])
    return f"{listed} and {len(rest) - 2} more" if len(rest) > 2 else listed
