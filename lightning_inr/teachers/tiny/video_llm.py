"""Small video language models of the published classes with random weights, for use without a download.

A model is a Hugging Face folder with a byte-level tokenizer, a processor and a chat template.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.teachers.video_llm.loading import quiet

MOST_TOKENS = 4096  # of a tokenizer; a small set of words gives fewer
STRATEGY = "vision_feature_select_strategy"
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ 'VIDEO' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LAYERS = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "initializer_range": 0.2,  # ten times the default: without training, answers must differ between videos
}  # fmt: skip
TEXT = LAYERS | {"num_key_value_heads": 2, "max_position_embeddings": 8192, "tie_word_embeddings": False}
PATCHES = LAYERS | {"image_size": 56, "patch_size": 14}
GRID = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "fullatt_block_indexes": [1],
    "initializer_range": 0.2,
}  # fmt: skip


class Recipe(NamedTuple):
    """Classes and configurations of a small model of one architecture."""

    name: str  # prefix of its classes in transformers
    images: str  # prefix of its image processor's class
    videos: str  # prefix of its video processor's class
    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    any_size: bool = False  # whether it takes frames of any size


QWEN, LLAMA = TEXT | {"model_type": "qwen2"}, TEXT | {"model_type": "llama"}
PLACED = TEXT | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}}
SIGLIP = PATCHES | {"model_type": "siglip_vision_model", "vision_use_head": False}
CLIP = PATCHES | {"model_type": "clip_vision_model"}
RECIPES = {
    "llava_onevision": Recipe("LlavaOnevision", "LlavaOnevision", "LlavaOnevision", QWEN, SIGLIP),
    "video_llama_3": Recipe(
        "VideoLlama3", "VideoLlama3", "VideoLlama3", QWEN, LAYERS | {"patch_size": 14}, any_size=True
    ),
    "qwen2_5_vl": Recipe("Qwen2_5_VL", "Qwen2VL", "Qwen2VL", PLACED, GRID, any_size=True),
    "llava_next_video": Recipe("LlavaNextVideo", "LlavaNext", "LlavaNextVideo", LLAMA, CLIP),
    "video_llava": Recipe("VideoLlava", "VideoLlava", "VideoLlava", LLAMA, CLIP),
}  # by the config's model_type


def write_small(
    folder: str | Path,
    family: str = "llava_onevision",
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    texts: Iterable[str] = (),
) -> Path:
    """Write a model of `family` (one of RECIPES) with random weights from `seed` to `folder`.

    `config` overrides entries of its config, such as {"text_config": {"hidden_size": 64}}. Words of `texts` become
    tokens of the tokenizer. UserError for another family.
    """
    if family not in RECIPES:
        raise UserError(f"family={family}: choose one of {', '.join(RECIPES)}")
    recipe, changes = RECIPES[family], config or {}
    text = {**recipe.text, **changes.get("text_config", {})}
    vision = {**recipe.vision, **changes.get("vision_config", {})}
    processor = _processor(recipe, vision, changes.get(STRATEGY), texts)
    ends = {"eos_token_id": processor.tokenizer.eos_token_id, "pad_token_id": processor.tokenizer.pad_token_id}
    mark = "token_id" if recipe.any_size else "token_index"
    described = transformers.AutoConfig.for_model(
        family,
        text_config=text | ends | {"bos_token_id": None, "vocab_size": len(processor.tokenizer)},
        vision_config=vision | ({"out_hidden_size": text["hidden_size"]} if recipe.vision is GRID else {}),
        **{f"image_{mark}": processor.image_token_id, f"video_{mark}": processor.video_token_id},
        untrained=True,  # training must set it to False
        **{key: value for key, value in changes.items() if key not in ("text_config", "vision_config")},
    )
    with torch.random.fork_rng(), quiet(), writing(folder) as draft:
        torch.manual_seed(seed)
        model = getattr(transformers, f"{recipe.name}ForConditionalGeneration")(described)
        model.generation_config.update(**ends, bos_token_id=None)
        model.save_pretrained(draft)
        processor.save_pretrained(draft)
    return Path(folder)


def byte_tokenizer(*marks: str, texts: Iterable[str] = ()) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the 256 bytes, words of `texts`, PAD, START, END and `marks`."""
    symbols = {symbol: place for place, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=symbols, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # no token spans two words
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=MOST_TOKENS, show_progress=False, initial_alphabet=list(symbols))
    )
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in (PAD, START, END, *marks)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)


def _processor(recipe: Recipe, vision: Mapping[str, Any], strategy: str | None, texts: Iterable[str]) -> Any:
    image, video = ("<|image_pad|>", "<|video_pad|>") if recipe.any_size else ("<image>", "<video>")
    sizes: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if not recipe.any_size:
        side, patch = vision["image_size"], vision["patch_size"]
        sizes = {"size": {"height": side, "width": side}, "crop_size": {"height": side, "width": side}}
        options = {"patch_size": patch, "num_image_tokens": (side // patch) ** 2, "num_additional_image_tokens": 1}
        options[STRATEGY] = strategy or ("full" if recipe.vision is SIGLIP else "default")
    return getattr(transformers, f"{recipe.name}Processor")(
        image_processor=getattr(transformers, f"{recipe.images}ImageProcessor")(**sizes),
        video_processor=getattr(transformers, f"{recipe.videos}VideoProcessor")(**sizes),
        tokenizer=byte_tokenizer(image, video, texts=texts),
        chat_template=TEMPLATE.replace("VIDEO", video),
        **options,
    )
