"""A small Video-LLaMA with random weights, in files of the published format."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from lightning_inr.paths import writing
from lightning_inr.teachers.tiny.video_llm import LAYERS, TEXT, byte_tokenizer
from lightning_inr.teachers.video_llama.checkpoint import BLIP2_PARTS, PROJECTION
from lightning_inr.teachers.video_llama.tower import SIDE, Tower
from lightning_inr.teachers.video_llm.loading import quiet

QFORMER: dict[str, Any] = LAYERS | {"encoder_hidden_size": LAYERS["hidden_size"]}
VISION: dict[str, Any] = LAYERS | {"image_size": SIDE, "patch_size": 56}
LANGUAGE: dict[str, Any] = TEXT | {"untrained": True}
POSITIONS, TOKENS = 32, 8  # frame positions, visual tokens


def write_small_video_llama(folder: str | Path, seed: int = 0) -> Path:
    """Write `video_llama.pth`, `blip2` and `llama` with random weights from `seed` to `folder`.

    `load_video_llama` reads them as its arguments weights, blip2 and llama; tensors have their published names.
    """
    config = transformers.Blip2Config(vision_config=VISION, qformer_config=QFORMER, num_query_tokens=4)
    target = Path(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = Tower(config, POSITIONS, TOKENS)
        nn.init.normal_(tower.query_tokens)
        nn.init.normal_(tower.video_query_tokens)
        projection = nn.Linear(QFORMER["hidden_size"], LANGUAGE["hidden_size"]).state_dict()
        _write_llama(target / "llama")
    state = {name: value.detach() for name, value in tower.state_dict().items()}
    images = {name: value for name, value in state.items() if name.startswith(BLIP2_PARTS)}
    with writing(target / "blip2") as draft:
        config.save_pretrained(draft)
        save_file(images, draft / "model.safetensors", metadata={"format": "pt"})
    trained = {_published(name): value for name, value in state.items() if name not in images}
    trained |= {f"{PROJECTION}{name}": value for name, value in projection.items()}
    with writing(target / "video_llama.pth") as draft:
        torch.save({"model": trained}, draft)
    return target


def _write_llama(folder: Path) -> None:
    tokenizer = byte_tokenizer()
    ends: dict[str, Any] = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    config = transformers.LlamaConfig(**LANGUAGE, **ends, vocab_size=len(tokenizer))
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.update(**ends)
    with writing(folder) as draft, quiet():
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)


def _published(name: str) -> str:
    """The name in the published checkpoint (as in BERT) of a weight of the video Q-Former."""
    name = name.replace("video_qformer.layernorm.", "video_Qformer.bert.embeddings.LayerNorm.")
    name = name.replace("video_qformer.encoder.", "video_Qformer.bert.encoder.")
    return name.replace("attention.attention.", "attention.self.")
