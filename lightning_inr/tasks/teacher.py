"""A teacher for those who have none: a small CLIP trained on `shapes`, and how well it finds held-out videos."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from lightning_inr.data.captioned import Captioned, Listing, open_captioned
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.retrieval.scores import Scores, first_positive_ranks, pool, summarise, text_to_video, video_to_text
from lightning_inr.teachers.clip import Clip, load_clip
from lightning_inr.training.teacher import Teaching, build_clip, save_teacher, teach

DATASET = "lightning_inr.data.shapes.list_shapes"


def run(cfg: DictConfig) -> dict[str, Scores]:
    """Train and save a teacher if `teacher_dir` has none; print and return what it finds in `dataset`."""
    if cfg.dataset.get("listing", {}).get("_target_") != DATASET:
        raise UserError("dataset: task=teacher has only learnt to teach from shapes; add dataset=shapes")
    folder = Path(cfg.teacher_dir).expanduser()
    device = choose_device(cfg.device)
    listing: Listing = instantiate(cfg.dataset.listing)
    if (folder / "open_clip_config.json").exists():
        print(f"{folder} holds a teacher; delete it to train another")
    else:
        torch.manual_seed(cfg.seed)
        config: Any = OmegaConf.to_container(cfg.clip, resolve=True)
        clip = build_clip(config).to(device)
        teach(Teaching(clip, cfg.seed, **cfg.teaching), cfg.teacher_seconds)
        save_teacher(clip, config, folder)
    scores = measure(load_clip(None, str(folder), cfg.device), listing)
    title = f"{listing.name}, {len(listing.videos)} videos"
    print(f"{title:<32}   R@1    R@5   R@10  queries")
    for name, each in scores.items():
        print(f"  {name:<30}{each.recall_1:6.1f} {each.recall_5:6.1f} {each.recall_10:6.1f} {each.queries:8d}")
    print(f"align latents to it with module=alignment teacher=shapes teacher.weights={folder}")
    return scores


def measure(clip: Clip, listing: Listing) -> dict[str, Scores]:
    """What the teacher's own features find: whole videos by their paragraphs, and back; frames by task and by step."""
    frames, tasks, steps = [], [], []
    for video in tqdm(listing.videos, "measure", unit="video", leave=False):
        source = open_captioned(video.id, listing)
        frames.append(clip.embed_frames(map(source.read, range(source.frames))).numpy())
        tasks += [video.label] * source.frames
        steps += [_step(video, index / source.fps) for index in range(source.frames)]
    paragraphs = clip.embed_texts([video.captions[0] for video in listing.videos]).numpy()
    similarity = paragraphs @ np.stack([pool(each) for each in frames]).T
    owner = np.arange(len(frames))
    return {
        "text to video": summarise(text_to_video(similarity, owner)),
        "video to text": summarise(video_to_text(similarity, owner)),
        "task to frame": _find(clip, np.concatenate(frames), np.array(tasks)),
        "step to frame": _find(clip, np.concatenate(frames), np.array(steps)),
    }


def _step(video: Captioned, second: float) -> str:
    return next(segment.label for segment in video.segments if segment.start <= second <= segment.end)


def _find(clip: Clip, frames: NDArray[np.float32], said: NDArray[np.str_]) -> Scores:
    """Frames (N, S) searched by every text that is said of any of them (N,)."""
    texts = sorted(set(said.tolist()))
    queries = clip.embed_texts(texts).numpy()
    return summarise(first_positive_ranks(queries, frames, (said == text for text in texts)))
