"""A small video language model trained from scratch on `shapes`, for use without a pretrained one.

First the vision tower is trained to encode a frame as one token, from which a linear layer classifies shape, action and
colours; noise on the token limits the information it can hold. Then the language model is trained to answer questions
from the tokens of many frames.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from lightning_inr.data.shapes.grammar import (
    COLOURS,
    FAMILIES,
    SHAPES,
    STEPS,
    TASKS,
    ActionStep,
    Story,
    draw_story,
    steps_of,
)
from lightning_inr.data.shapes.questions import DESCRIBE, draw_question, questions_about
from lightning_inr.data.shapes.render import FPS, FRAMES, SCENE, SIDE, draw_scenes, render
from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.teachers.load_options import LoadOptions
from lightning_inr.teachers.tiny.video_llm import END, write_small
from lightning_inr.teachers.video_llm.interface import Message
from lightning_inr.teachers.video_llm.transformers_llm import TransformersLLM, load_transformers_llm
from lightning_inr.training.teachers.loop import TrainingPhase
from lightning_inr.types import VideoShape

VIDEO = VideoShape(FRAMES, SIDE, SIDE, FPS)
ACTIONS = [action for actions in FAMILIES.values() for action in actions]
NO_CHANGE = "nothing"  # the new colour of a shape that keeps its colour
ASPECTS: tuple[Sequence[str], ...] = (list(SHAPES), ACTIONS, COLOURS, (*COLOURS, NO_CHANGE))
TOKEN_NOISE = 0.1  # standard deviation; the numbers of a token are about 0.5; 0.25 slows training down much
TOKEN_PENALTY = 0.25  # weight of the tokens' mean square in the loss: with the noise, as in Alemi et al. (ICLR 2017)
STORIES_AT_ONCE = 16  # encoded in one batch
DESCRIPTION_SHARE = 0.3  # of the questions: those whose answer is the description of the whole video
SECOND_QUESTION_SHARE = 0.5  # of the conversations: those with two questions


def build_untrained(config: dict[str, Any], shown: int, seed: int, device: str = "auto") -> TransformersLLM:
    """A LLaVA-OneVision with random weights and a token for each word of `shapes`; UserError for an invalid config."""
    random = Random("words")
    stories = [draw_story(random, False) for _ in range(1000)]
    words = {text for story in stories for asked in questions_about(story) for text in (*asked.wordings, asked.answer)}
    texts = [*sorted(words | {story.paragraph for story in stories}), *DESCRIBE, "user", "assistant"]
    with TemporaryDirectory() as scratch:
        try:
            folder = write_small(Path(scratch) / "untrained", "llava_onevision", config, seed, texts)
        except UserError:
            raise
        except Exception as error:  # transformers raises errors of many types for an invalid configuration
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"video_llm_config: transformers cannot build this: {reason}; see conf/task/train_shapes_video_llm.yaml"
            ) from error
        load = LoadOptions(frames=shown, side=SIDE, dtype="float32", device=device)
        return load_transformers_llm(str(folder), load)


def aspect_classes(step: ActionStep) -> list[int]:
    """The class of a step's frames in each of ASPECTS."""
    values = (step.task.shape, step.action, step.colour, step.becomes or NO_CHANGE)
    return [aspect.index(value) for aspect, value in zip(ASPECTS, values, strict=True)]


def render_story_frames(story: Story, random: Random, frames: Sequence[int]) -> Tensor:
    """The frames of these numbers, (N, 3, SIDE, SIDE) uint8, of a new rendering of the story."""
    scenes = draw_scenes(story, random)
    return render([scenes[number // SCENE] for number in frames], [number % SCENE / (SCENE - 1) for number in frames])


class VideoLLMTraining:
    """Training of a model on stories drawn from `seed`: a vision phase, then a language phase, `steps` together.

    `vision_share`: the vision phase's share of the steps; `frames`: rendered in each of its steps; `conversations`: in
    each step of the language phase; `stories`: the number of stories that the conversations are about. A
    `ResumableTraining`.
    """

    def __init__(
        self,
        llm: TransformersLLM,
        seed: int,
        steps: int,
        vision_share: float,
        learning_rate: float,
        frames: int,
        conversations: int,
        stories: int,
    ) -> None:
        for name, value in (("frames", frames), ("conversations", conversations), ("stories", stories)):
            if value < 1:
                raise UserError(f"training.{name}={value}: choose at least 1")
        vision_steps = _vision_steps(steps, vision_share)
        self.llm = llm
        self.frames, self.conversations, self.stories = frames, conversations, stories
        self.random = Random(f"video language model {seed}")
        self.model = llm.model.requires_grad_(True).train()
        self.token_space = llm.token_space(VIDEO)
        self.frame_numbers = VIDEO.spread(self.token_space.sampling.frames)
        processor = llm.processor.video_processor
        self.norms = torch.tensor([processor.image_mean, processor.image_std], device=llm.device)[:, :, None, None]
        self.classifier = nn.Linear(self.token_space.width, sum(map(len, ASPECTS)), device=llm.device)
        self.pool: list[tuple[Story, Tensor]] = []  # stories and their tokens, which the language phase fills
        self.question, self.answer = cache(self._question), cache(self._answer)
        base = self.model.base_model
        vision = [*base.vision_tower.parameters(), *base.multi_modal_projector.parameters()]
        in_vision = {id(parameter) for parameter in vision}
        language = [parameter for parameter in self.model.parameters() if id(parameter) not in in_vision]
        optimizers = _optimizer([*vision, *self.classifier.parameters()]), _optimizer(language)
        self.phases: Sequence[TrainingPhase] = [
            TrainingPhase("vision phase", vision_steps, self.vision_loss, optimizers[0], learning_rate),
            TrainingPhase("language phase", steps - vision_steps, self.language_loss, optimizers[1], learning_rate),
        ]

    def state_dict(self) -> dict[str, Any]:
        """The weights and the pool."""
        return {
            "model": self.model.state_dict(),
            "classifier": self.classifier.state_dict(),
            "stories": [_story_numbers(story) for story, _ in self.pool],
            "tokens": [tokens for _, tokens in self.pool],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.classifier.load_state_dict(state["classifier"])
        tokens = [each.to(self.llm.device) for each in state["tokens"]]
        if any(each.shape != (self.token_space.tokens, self.token_space.width) for each in tokens):
            raise ValueError("tokens of another size")
        self.pool = list(zip(map(_story_of, state["stories"]), tokens, strict=True))

    def vision_loss(self) -> Tensor:
        """The loss of the vision phase: classification of ASPECTS from the token of a frame, and the tokens' size."""
        stories = [draw_story(self.random, False) for _ in range(max(1, self.frames // STEPS))]
        numbers = [[scene * SCENE + self.random.randrange(SCENE) for scene in range(STEPS)] for _ in stories]
        rendered = [render_story_frames(story, self.random, each) for story, each in zip(stories, numbers, strict=True)]
        classes = [aspect_classes(step) for story in stories for step in story.steps]
        targets = torch.tensor(classes, device=self.llm.device)
        tokens = self.encode_frames(torch.cat(rendered)).mean(1)
        logits = self.classifier(_add_noise(tokens)).split([len(aspect) for aspect in ASPECTS], dim=-1)
        losses = [F.cross_entropy(each, targets[:, place]) for place, each in enumerate(logits)]
        return torch.stack(losses).sum() + TOKEN_PENALTY * tokens.square().mean()

    def language_loss(self) -> Tensor:
        """The loss of the language phase: cross-entropy of answers about videos, whose tokens are computed once."""
        if not self.pool:
            self.pool = self._encode_stories()
        chosen = [self.random.choice(self.pool) for _ in range(self.conversations)]
        conversations = [self.draw_conversation(story) for story, _ in chosen]
        longest = max(len(ids) for ids, _ in conversations)
        padded = [ids + [0] * (longest - len(ids)) for ids, _ in conversations]
        masks = [in_loss + [False] * (longest - len(in_loss)) for _, in_loss in conversations]
        ids = torch.tensor(padded, device=self.llm.device)
        in_loss = torch.tensor(masks).to(self.llm.device)[:, 1:]
        tokens = _add_noise(torch.stack([tokens for _, tokens in chosen]))
        newline = self.model.base_model.image_newline.expand(len(chosen), 1, -1)
        video = BaseModelOutputWithPooling(pooler_output=torch.cat([tokens, newline], dim=1))
        # No mask: the padding of a shorter conversation comes after all ids that are in the loss.
        hidden = self.model.base_model(input_ids=ids, mm_encoder_outputs={"video": video}, use_cache=False)[0]
        return F.cross_entropy(self.model.lm_head(hidden[:, :-1][in_loss]), ids[:, 1:][in_loss])

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames (N, 3, SIDE, SIDE) uint8 as tokens (N, M, d), as `features` does."""
        mean, std = self.norms
        pixels = (frames.to(self.llm.device) / 255 - mean) / std
        return self.model.base_model.get_video_features(pixels[:, None], return_dict=True).pooler_output[:, :-1]

    def draw_conversation(self, story: Story) -> tuple[list[int], list[bool]]:
        """The ids of a random conversation about a story, and for each id whether it is a target of the loss."""
        ids, in_loss = [], []
        for turn in range(1 + (self.random.random() < SECOND_QUESTION_SHARE)):
            if self.random.random() < DESCRIPTION_SHARE:
                question, answer = self.random.choice(DESCRIBE), story.paragraph
            else:
                asked = draw_question(story, self.random)
                question, answer = asked.random_wording(self.random), asked.answer
            before, after = self.question(question, turn == 0), self.answer(answer)
            ids += before + after
            in_loss += [False] * len(before) + [True] * (len(after) - 1) + [False]
        return ids, in_loss

    @torch.no_grad()
    def _encode_stories(self) -> list[tuple[Story, Tensor]]:
        stories = [draw_story(self.random, False) for _ in range(self.stories)]
        encoded = []
        for start in range(0, self.stories, STORIES_AT_ONCE):
            some = stories[start : start + STORIES_AT_ONCE]
            frames = torch.cat([render_story_frames(story, self.random, self.frame_numbers) for story in some])
            encoded += list(self.encode_frames(frames).reshape(len(some), self.token_space.tokens, -1))
        return list(zip(stories, encoded, strict=True))

    def _question(self, text: str, first: bool) -> list[int]:
        return self.llm.prompt([Message("user", text)], self.token_space if first else None).ids[0].tolist()

    def _answer(self, text: str) -> list[int]:
        """The ids of an answer as the chat template writes it; its line break is not a target of the loss."""
        return self.llm.tokenizer(f"{text}{END}\n").input_ids


def save_trained(llm: TransformersLLM, folder: str | Path) -> None:
    """Write a Hugging Face folder, which `load_video_llm` reads."""
    llm.model.config.untrained = False
    with writing(folder) as draft:
        llm.model.eval().save_pretrained(draft)
        llm.processor.save_pretrained(draft)


def _vision_steps(steps: int, share: float) -> int:
    """The number of steps of the vision phase, which leaves at least one to each phase."""
    if steps < 2:
        raise UserError(f"teacher_steps={steps}: choose at least 2, one for each phase")
    if not 0 < share < 1:
        raise UserError(f"vision_share={share}: choose a share between 0 and 1")
    return min(max(round(share * steps), 1), steps - 1)


def _story_numbers(story: Story) -> list[int]:
    """The numbers of a story's task in TASKS and of its steps among those of the task."""
    return [TASKS.index(story.task), *(steps_of(story.task).index(step) for step in story.steps)]


def _story_of(numbers: Sequence[int]) -> Story:
    task, *steps = numbers
    if len(steps) != STEPS:
        raise ValueError(f"a story of {len(steps)} steps")
    return Story(tuple(steps_of(TASKS[task])[step] for step in steps))


def _optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def _add_noise(tokens: Tensor) -> Tensor:
    return tokens + TOKEN_NOISE * torch.randn_like(tokens)
