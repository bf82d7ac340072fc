"""A small model of any architecture with random weights, written where it is not there yet: for trying the plumbing."""

from pathlib import Path

from lightning_inr.teachers.video_llm import VideoLLM, load_video_llm

WHOLE = "video_llama"  # the one that is not of transformers


def load_tiny(
    folder: str,
    family: str = "llava_onevision",
    sees: bool = True,
    frames: int = 8,
    side: int = 112,
    device: str = "auto",
) -> VideoLLM:
    """The small model of a `family` of RECIPES, or video_llama, in `folder`; UserError for another family."""
    from lightning_inr.teachers.small_video_llama import write_small_video_llama  # takes seconds, as the others
    from lightning_inr.teachers.small_video_llm import write_small
    from lightning_inr.teachers.video_llama import load_video_llama

    path = Path(folder)
    if family != WHOLE:
        if not (path / "config.json").exists():
            write_small(path, family)
        return load_video_llm(folder, sees, frames, side, device=device)
    if not (path / "video_llama.pth").exists():
        write_small_video_llama(path)
    weights, llama, blip2 = (str(path / piece) for piece in ("video_llama.pth", "llama", "blip2"))
    return load_video_llama(weights, llama, blip2, sees=sees, frames=frames, device=device)
