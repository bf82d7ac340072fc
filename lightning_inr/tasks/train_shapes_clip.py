"""A teacher for those who have none: a small CLIP trained on `shapes`, and how well it finds held-out videos."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from lightning_inr.configuration import shapes_listing
from lightning_inr.data.captioned.split import DatasetSplit, open_captioned
from lightning_inr.devices import choose_device
from lightning_inr.pipelines.retrieval_evaluation import ask_all, row_of
from lightning_inr.report.recall import RecallRow, recall_table
from lightning_inr.retrieval.gallery import Gallery
from lightning_inr.retrieval.protocols import PROTOCOLS, Options
from lightning_inr.teachers.clip import Clip, load_clip
from lightning_inr.training.teachers.shapes_clip import ClipTraining, build_clip, save_teacher, train_clip


def run(cfg: DictConfig) -> list[RecallRow]:
    """Train and save a teacher if `teacher_dir` has none; print and return what it finds in `dataset`."""
    folder = Path(cfg.teacher_dir).expanduser()
    device = choose_device(cfg.device)
    listing: DatasetSplit = instantiate(shapes_listing(cfg))
    if (folder / "open_clip_config.json").exists():
        print(f"{folder} holds a teacher; delete it to train another")
    else:
        torch.manual_seed(cfg.seed)
        config: Any = OmegaConf.to_container(cfg.clip, resolve=True)
        clip = build_clip(config).to(device)
        train_clip(ClipTraining(clip, cfg.seed, **cfg.teaching), cfg.teacher_steps)
        save_teacher(clip, config, folder)
    rows = _measure(load_clip(None, str(folder), cfg.device), listing)
    print(f"{listing.name}, {len(listing.videos)} videos\n{recall_table(rows)}")
    print(f"align latents to it with module=alignment teacher=shapes teacher.weights={folder}")
    return rows


def _measure(clip: Clip, listing: DatasetSplit) -> list[RecallRow]:
    """What the teacher's own view of the true frames finds."""
    views, lengths, rates = [], [], []
    for video in tqdm(listing.videos, "measure", unit="video", leave=False):
        source = open_captioned(video.id, listing)
        views.append(clip.embed_frames(map(source.read, range(source.frames))).numpy())
        lengths.append(source.frames)
        rates.append(source.fps)
    place = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    gallery = Gallery(clip.embedding_space, np.concatenate(views), place, frame, frame / np.array(rates)[place])
    asked = ask_all(list(PROTOCOLS), listing.videos, gallery, clip, Options())
    return [row_of("CLIP, true frames", each) for each in asked]
