"""Loads video language models: those of transformers, or a small one with random weights for tests."""

from pathlib import Path
from typing import Any

from lightning_inr.errors import UserError
from lightning_inr.teachers.load_options import LoadOptions
from lightning_inr.teachers.video_llm.interface import VideoLLM

CHECKPOINTS = (".pth", ".safetensors")  # file name extensions of Video-LLaMA checkpoints
WHOLE = "video_llama"  # the family that is no class of transformers: a LLaMA and a vision tower


def load_video_llm(model: str, **options: Any) -> VideoLLM:
    """Load a video language model of transformers by hub id or folder; `options` are those of `LoadOptions`.

    UserError, with how to get it, if any part is missing: weights are never initialised at random, and code that comes
    with a model is never run.
    """
    if model.endswith(CHECKPOINTS):  # the token space of a file may have such a name
        raise UserError(
            f"video_llm.model={model}: a checkpoint of Video-LLaMA; add video_llm=video_llama "
            f"video_llm.weights={model}, and video_llm.llama=… if its LLaMA is not the default"
        )
    from lightning_inr.teachers.video_llm.transformers_llm import (
        load_transformers_llm,  # here, as the import takes seconds
    )

    return load_transformers_llm(model, LoadOptions(**options))


def load_tiny(folder: str, family: str = "llava_onevision", **options: Any) -> VideoLLM:
    """Load the small model of `family` (of RECIPES, or video_llama) from `folder`, written first if it is missing."""
    from lightning_inr.teachers.tiny.video_llama import write_small_video_llama  # here, as these take seconds
    from lightning_inr.teachers.tiny.video_llm import RECIPES, write_small
    from lightning_inr.teachers.video_llama.model import load_video_llama

    if family not in (*RECIPES, WHOLE):
        raise UserError(f"video_llm.family={family}: choose one of {', '.join((*RECIPES, WHOLE))}")
    path = Path(folder)
    if family != WHOLE:
        if not (path / "config.json").exists():
            write_small(path, family)
        return load_video_llm(folder, **options)
    if not (path / "video_llama.pth").exists():
        write_small_video_llama(path)
    weights, llama, blip2 = (str(path / piece) for piece in ("video_llama.pth", "llama", "blip2"))
    return load_video_llama(weights, llama, blip2, **options)
