"""A small CLIP (Radford et al. 2021) trained from scratch on `shapes`, for use without a pretrained CLIP."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from lightning_inr.data.shapes.grammar import TASKS, draw_story
from lightning_inr.data.shapes.render import SIDE, draw_scenes, render
from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.training.teachers.loop import TrainingPhase

MAX_LOGIT_SCALE = math.log(100.0)  # Radford et al. 2021, section 2.5
NORMS = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def build_clip(config: dict[str, Any]) -> open_clip.CLIP:
    """A CLIP with random weights from an open_clip configuration; UserError if it is invalid or not for SIDE pixels."""
    size = config["vision_cfg"]["image_size"]
    if size != SIDE:
        raise UserError(f"clip.vision_cfg.image_size={size}: shapes are {SIDE} pixels wide; choose {SIDE}")
    try:
        return open_clip.CLIP(**config)
    except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError) as error:
        raise UserError(f"clip: open_clip cannot build this: {error}; see conf/task/train_shapes_clip.yaml") from error


class ClipBatch(NamedTuple):
    """The batch of one training step: V new videos, T frames of each, one for each of its steps, and their texts."""

    frames: Tensor  # (V, T, 3, H, W) uint8
    captions: list[str]  # V, one for each video
    labels: list[str]  # V * T, the label of the step that each frame shows
    tasks: list[str]  # V * T, the task that each frame belongs to


def draw_clip_batch(random: Random, tasks: int, videos: int) -> ClipBatch:
    """Draw `videos` videos of each of `tasks` random tasks; those of one task differ only in colours and directions."""
    stories = [draw_story(random, False, task) for task in random.sample(TASKS, tasks) for _ in range(videos)]
    frames = [render(draw_scenes(story, random), [random.random() for _ in story.steps]) for story in stories]
    return ClipBatch(
        torch.stack(frames),
        [random.choice([story.paragraph, *story.captions]) for story in stories],
        [step.label for story in stories for step in story.steps],
        [story.task.words for story in stories for _ in story.steps],
    )


class ClipTraining:
    """Training of a CLIP for `steps` steps on random batches of `tasks` times `videos` videos drawn from `seed`.

    A `ResumableTraining` with one phase.
    """

    def __init__(
        self, clip: open_clip.CLIP, seed: int, steps: int, learning_rate: float, tasks: int = 8, videos: int = 4
    ) -> None:
        for name, value, most in (("tasks", tasks, len(TASKS)), ("videos", videos, 1000)):
            if not 1 <= value <= most:
                raise UserError(f"training.{name}={value}: choose 1 to {most}")
        if steps < 1:
            raise UserError(f"teacher_steps={steps}: choose at least 1")
        self.clip = clip.train().to(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU
        self.tasks, self.videos = tasks, videos
        self.random = Random(f"teacher {seed}")
        self.tokenize = open_clip.SimpleTokenizer(context_length=clip.context_length)
        self.device = clip.logit_scale.device
        self.norms = torch.tensor(NORMS, device=self.device)[:, :, None, None]
        # Radford et al. (2021), table 18; no weight decay: every batch is new, so that the model cannot overfit.
        optimizer = torch.optim.Adam(clip.parameters(), learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
        optimizer.register_step_post_hook(self._limit_logit_scale)
        self.phases: Sequence[TrainingPhase] = [
            TrainingPhase("teacher", steps, self.draw_loss, optimizer, learning_rate)
        ]

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return {"clip": self.clip.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.clip.load_state_dict(state["clip"])

    def draw_loss(self) -> Tensor:
        """The loss of a new batch."""
        return self.loss(draw_clip_batch(self.random, self.tasks, self.videos))

    def loss(self, batch: ClipBatch) -> Tensor:
        """The sum of three contrastive losses: pooled videos and captions, frames and labels, frames and tasks."""
        videos, steps = batch.frames.shape[:2]
        mean, std = self.norms
        pixels = (batch.frames.flatten(0, 1).to(self.device) / 255 - mean) / std
        frames = self.clip.encode_image(pixels, normalize=True)
        pooled = F.normalize(frames.view(videos, steps, -1).mean(1), dim=-1)
        pairs = ((pooled, batch.captions), (frames, batch.labels), (frames, batch.tasks))
        return torch.stack([self.contrastive_loss(features, texts) for features, texts in pairs]).sum()

    def contrastive_loss(self, features: Tensor, texts: Sequence[str]) -> Tensor:
        """CLIP's loss of `features` (N, E) and their N `texts`; equal texts match every feature that has them."""
        different = list(dict.fromkeys(texts))
        matches = torch.tensor([[one == text for one in different] for text in texts], device=features.device).float()
        embedded = self.clip.encode_text(self.tokenize(different).to(features.device), normalize=True)
        logits = self.clip.logit_scale.exp() * features @ embedded.T
        of_features = F.cross_entropy(logits, matches)
        return (of_features + F.cross_entropy(logits.T, matches.T / matches.sum(0)[:, None])) / 2

    def _limit_logit_scale(self, *_: Any) -> None:
        self.clip.logit_scale.data.clamp_(0.0, MAX_LOGIT_SCALE)


def save_teacher(clip: open_clip.CLIP, config: dict[str, Any], folder: str | Path) -> None:
    """Write a folder that `open_clip.create_model_and_transforms("local-dir:FOLDER")` reads."""
    mean, std = NORMS
    described = {"model_cfg": config, "preprocess_cfg": {"mean": mean, "std": std}}
    with writing(folder) as draft:
        draft.mkdir()
        weights = {name: value.contiguous() for name, value in clip.state_dict().items()}
        save_file(weights, draft / "open_clip_model.safetensors")
        (draft / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n")
