"""A small CLIP (Radford et al. 2021) trained from scratch on `shapes`, for where no other can be had."""

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

from lightning_inr.data.shapes_grammar import TASKS, draw_story
from lightning_inr.data.shapes_render import SIDE, draw_scenes, render
from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.training.steps import take_steps

WARM_UP = 40  # steps over which the learning rate rises
STEEPEST = math.log(100.0)  # Radford et al. (2021), section 2.5
NORMS = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def build_clip(config: dict[str, Any]) -> open_clip.CLIP:
    """A CLIP with random weights, from a description in open_clip's terms; UserError if none can be built or taught."""
    size = config["vision_cfg"]["image_size"]
    if size != SIDE:
        raise UserError(f"clip.vision_cfg.image_size={size}: shapes are {SIDE} pixels wide; choose {SIDE}")
    try:
        return open_clip.CLIP(**config)
    except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError) as error:
        raise UserError(f"clip: open_clip cannot build this: {error}; see conf/task/teacher.yaml") from error


class Lesson(NamedTuple):
    """Videos never shown before, one frame of each of their steps, and what is said of them."""

    frames: Tensor  # (V, T, 3, H, W) uint8
    captions: list[str]  # V, of whole videos
    labels: list[str]  # V T, of the step that each frame is of
    tasks: list[str]  # V T, of the task that each frame is of


def draw_lesson(random: Random, tasks: int, videos: int) -> Lesson:
    """So many `videos` of each of so many `tasks`: within a task, only colours and directions tell them apart."""
    stories = [draw_story(random, False, task) for task in random.sample(TASKS, tasks) for _ in range(videos)]
    frames = [render(draw_scenes(story, random), [random.random() for _ in story.steps]) for story in stories]
    return Lesson(
        torch.stack(frames),
        [random.choice([story.paragraph, *story.captions]) for story in stories],
        [step.label for story in stories for step in story.steps],
        [story.task.words for story in stories for _ in story.steps],
    )


class Teaching:
    """The training of a CLIP on lessons drawn from `seed`, a step at a time."""

    def __init__(self, clip: open_clip.CLIP, seed: int, learning_rate: float, tasks: int = 8, videos: int = 4) -> None:
        for name, value, most in (("tasks", tasks, len(TASKS)), ("videos", videos, 1000)):
            if not 1 <= value <= most:
                raise UserError(f"teaching.{name}={value}: choose 1 to {most}")
        self.clip = clip.train().to(memory_format=torch.channels_last)  # half as fast again on a CPU
        self.learning_rate, self.tasks, self.videos = learning_rate, tasks, videos
        self.random = Random(f"teacher {seed}")
        self.tokenize = open_clip.SimpleTokenizer(context_length=clip.context_length)
        self.device = clip.logit_scale.device
        self.norms = torch.tensor(NORMS, device=self.device)[:, :, None, None]
        # Radford et al. (2021), table 18; no weight decay: what is always new cannot be learnt by heart.
        self.optimizer = torch.optim.Adam(clip.parameters(), learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.taken = 0

    def step(self, progress: float) -> float:
        """Learn from one lesson, at `progress` in [0, 1] of the training; its loss."""
        self.taken += 1
        rate = min(1.0, self.taken / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2
        self.optimizer.param_groups[0]["lr"] = rate * self.learning_rate
        loss = self.loss(draw_lesson(self.random, self.tasks, self.videos))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.clip.parameters(), 1.0)
        self.optimizer.step()
        self.clip.logit_scale.data.clamp_(0.0, STEEPEST)
        return float(loss.detach())

    def loss(self, lesson: Lesson) -> Tensor:
        """Whole videos against captions, as they are searched for; frames against steps; frames against tasks."""
        videos, steps = lesson.frames.shape[:2]
        mean, std = self.norms
        pixels = (lesson.frames.flatten(0, 1).to(self.device) / 255 - mean) / std
        frames = self.clip.encode_image(pixels, normalize=True)
        whole = F.normalize(frames.view(videos, steps, -1).mean(1), dim=-1)
        pairs = ((whole, lesson.captions), (frames, lesson.labels), (frames, lesson.tasks))
        return torch.stack([self.contrast(seen, said) for seen, said in pairs]).sum()

    def contrast(self, seen: Tensor, said: Sequence[str]) -> Tensor:
        """CLIP's loss of features (N, E) and N texts; texts that are equal are one, right for each it is said of."""
        texts = list(dict.fromkeys(said))
        truth = torch.tensor([[each == text for text in texts] for each in said], device=seen.device).float()
        meant = self.clip.encode_text(self.tokenize(texts).to(seen.device), normalize=True)
        logits = self.clip.logit_scale.exp() * seen @ meant.T
        return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth.T / truth.sum(0)[:, None])) / 2


def teach(teaching: Teaching, steps: int) -> None:
    """Take `steps` steps, with a learning rate that falls to zero over them."""
    if steps < 1:
        raise UserError(f"teacher_steps={steps}: choose at least 1")
    take_steps(steps, "teacher", lambda _, progress: teaching.step(progress))


def save_teacher(clip: open_clip.CLIP, config: dict[str, Any], folder: str | Path) -> None:
    """An ordinary folder of open_clip's: `open_clip.create_model_and_transforms("local-dir:FOLDER")` reads it."""
    mean, std = NORMS
    described = {"model_cfg": config, "preprocess_cfg": {"mean": mean, "std": std}}
    with writing(folder) as draft:
        draft.mkdir()
        weights = {name: value.contiguous() for name, value in clip.state_dict().items()}
        save_file(weights, draft / "open_clip_model.safetensors")
        (draft / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n")
