"""A teacher for those who have none: a small CLIP trained on `shapes`, and how well it finds held-out videos."""

from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_inr.configuration.common import plain, shapes_listing
from lightning_inr.data.captioned.split import DatasetSplit, open_captioned
from lightning_inr.devices import choose_device
from lightning_inr.paths import alone_in
from lightning_inr.pipelines.retrieval_evaluation import recall_row, run_protocols
from lightning_inr.progress import ProgressBar
from lightning_inr.report.recall import RecallRow, recall_table
from lightning_inr.retrieval.gallery import Gallery
from lightning_inr.retrieval.protocols import PROTOCOLS, ProtocolOptions
from lightning_inr.teachers.clip import Clip, load_clip
from lightning_inr.training.teachers.loop import TrainingCheckpoint, run_training
from lightning_inr.training.teachers.shapes_clip import ClipTraining, build_clip, save_teacher

SETTINGS = ["seed", "teacher_steps", "training", "clip"]  # options that the trained weights depend on


def run(cfg: DictConfig) -> list[RecallRow]:
    """Train and save a teacher if `teacher_dir` has none; print and return what it finds in `dataset`."""
    folder = Path(cfg.teacher_dir).expanduser()
    device = choose_device(cfg.device)
    listing: DatasetSplit = instantiate(shapes_listing(cfg))
    checkpoint = TrainingCheckpoint(folder, "teacher_dir", plain(OmegaConf.masked_copy(cfg, SETTINGS)))
    with alone_in(folder, "teacher_dir"):
        if (folder / "open_clip_config.json").exists() and not checkpoint.path.exists():
            print(f"{folder} holds a teacher; delete it to train another")
        else:
            _train(cfg, device, checkpoint)
    rows = _measure(load_clip(None, str(folder), cfg.device), listing)
    print(f"{listing.name}, {len(listing.videos)} videos\n{recall_table(rows)}")
    print(f"align latents to it with module=alignment teacher=shapes teacher.weights={folder}")
    return rows


def _train(cfg: DictConfig, device: torch.device, checkpoint: TrainingCheckpoint) -> None:
    torch.manual_seed(cfg.seed)
    config = plain(cfg.clip)
    clip = build_clip(config).to(device)
    run_training(ClipTraining(clip, cfg.seed, cfg.teacher_steps, **cfg.training), checkpoint)
    save_teacher(clip, config, checkpoint.folder)
    checkpoint.remove()


def _measure(clip: Clip, listing: DatasetSplit) -> list[RecallRow]:
    """Recall of the teacher's own embeddings of the true frames."""
    embeddings, lengths, rates = [], [], []
    for video in ProgressBar(listing.videos, "measure", unit="video", leave=False):
        source = open_captioned(video.id, listing)
        embeddings.append(clip.embed_frames(map(source.read, range(source.frames))).numpy())
        lengths.append(source.frames)
        rates.append(source.fps)
    place = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    gallery = Gallery(clip.embedding_space, np.concatenate(embeddings), place, frame, frame / np.array(rates)[place])
    results = run_protocols(list(PROTOCOLS), listing.videos, gallery, clip, ProtocolOptions())
    return [recall_row("CLIP, true frames", each) for each in results]
