"""Video language models by name: any of transformers', or a small one with random weights for trying the plumbing."""

from pathlib import Path

from lightning_inr.errors import UserError
from lightning_inr.teachers.video_llm import VideoLLM

CHECKPOINTS = (".pth", ".safetensors")  # endings of those of Video-LLaMA
WHOLE = "video_llama"  # the family that is put together here


def load_video_llm(
    model: str,
    load_vision: bool = True,
    frames: int = 8,
    side: int = 112,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | None = None,
    bits: int | None = None,
) -> VideoLLM:
    """A video language model of transformers by hub id or folder, shown at most `frames` frames of a video.

    `side`: frames have about side² pixels where the model takes any size. `load_vision=False` leaves the vision tower
    on the disk. `dtype` is auto (as saved), float32, bfloat16 or float16; `bits` 4 or 8 shrinks the weights by
    bitsandbytes; `device_map` spreads them by accelerate. UserError, naming how to get it, if any of it is not there: a
    model never starts from random weights, and no program that comes with it is run.
    """
    if model.endswith(CHECKPOINTS):  # a file's token space may name one
        raise UserError(
            f"video_llm.model={model}: a checkpoint of Video-LLaMA; add video_llm=video_llama "
            f"video_llm.weights={model}, and video_llm.llama=… if it is not the usual one"
        )
    from lightning_inr.teachers.transformers_llm import load_transformers_llm  # takes seconds

    return load_transformers_llm(model, load_vision, frames, side, dtype, device, device_map, bits)


def load_tiny(
    folder: str,
    family: str = "llava_onevision",
    load_vision: bool = True,
    frames: int = 8,
    side: int = 112,
    device: str = "auto",
) -> VideoLLM:
    """The small model of a `family` of RECIPES, or video_llama, in `folder`; UserError for another family."""
    from lightning_inr.teachers.small_video_llama import write_small_video_llama  # takes seconds, as the others
    from lightning_inr.teachers.small_video_llm import RECIPES, write_small
    from lightning_inr.teachers.video_llama import load_video_llama

    if family not in (*RECIPES, WHOLE):
        raise UserError(f"video_llm.family={family}: choose one of {', '.join((*RECIPES, WHOLE))}")
    path = Path(folder)
    if family != WHOLE:
        if not (path / "config.json").exists():
            write_small(path, family)
        return load_video_llm(folder, load_vision, frames, side, device=device)
    if not (path / "video_llama.pth").exists():
        write_small_video_llama(path)
    weights, llama, blip2 = (str(path / piece) for piece in ("video_llama.pth", "llama", "blip2"))
    return load_video_llama(weights, llama, blip2, load_vision=load_vision, frames=frames, device=device)
