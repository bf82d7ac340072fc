"""A small video language model trained from scratch on `shapes`, for use without a pretrained one.

First the vision tower is trained to encode a frame as one token, from which a linear layer classifies shape, action and
colours; noise on the token limits the information it can hold. Then the language model is trained to answer questions
from the tokens of many frames.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from lightning_inr.data.shapes.grammar import COLOURS, FAMILIES, SHAPES, STEPS, ActionStep, Story, draw_story
from lightning_inr.data.shapes.questions import DESCRIBE, ask_about, draw_question
from lightning_inr.data.shapes.render import FPS, FRAMES, SCENE, SIDE, draw_scenes, render
from lightning_inr.errors import UserError
from lightning_inr.paths import writing
from lightning_inr.teachers.tiny.video_llm import END, write_small
from lightning_inr.teachers.video_llm.interface import Message
from lightning_inr.teachers.video_llm.transformers_llm import TransformersLLM, load_transformers_llm
from lightning_inr.training.teachers.loop import take_steps
from lightning_inr.types import VideoShape

VIDEO = VideoShape(FRAMES, SIDE, SIDE, FPS)
WARM_UP = 40  # steps over which the learning rate rises linearly, in each phase
NOISE = 0.1  # standard deviation of the noise on tokens, whose numbers are about 0.5; 0.25 slows training down much
LEAN = 0.25  # weight of the tokens' mean square in the loss; with NOISE, a bottleneck as in Alemi et al. (ICLR 2017)
ACTIONS = [action for actions in FAMILIES.values() for action in actions]
NOTHING = "nothing"  # the new colour of a shape that keeps its colour
ASPECTS: tuple[Sequence[str], ...] = (list(SHAPES), ACTIONS, COLOURS, (*COLOURS, NOTHING))
WATCHED = 16  # stories encoded at a time
DESCRIBED = 0.3  # share of the questions whose answer is the description of the whole video
FOLLOWED = 0.5  # share of the conversations with a second question


def build_untrained(config: dict[str, Any], shown: int, seed: int, device: str = "auto") -> TransformersLLM:
    """A LLaVA-OneVision with random weights and a token for each word of `shapes`; UserError for an invalid config."""
    random = Random("words")
    stories = [draw_story(random, False) for _ in range(1000)]
    words = {text for story in stories for asked in ask_about(story) for text in (*asked.wordings, asked.answer)}
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
        return load_transformers_llm(str(folder), True, shown, SIDE, "float32", device, None, None)


def facts(step: ActionStep) -> list[int]:
    """The class of a step's frames in each of ASPECTS."""
    shown = (step.task.shape, step.action, step.colour, step.becomes or NOTHING)
    return [aspect.index(value) for aspect, value in zip(ASPECTS, shown, strict=True)]


def show(story: Story, random: Random, frames: Sequence[int]) -> Tensor:
    """Render the story again, and return the frames of these numbers, (N, 3, SIDE, SIDE) uint8."""
    scenes = draw_scenes(story, random)
    return render([scenes[number // SCENE] for number in frames], [number % SCENE / (SCENE - 1) for number in frames])


class VideoLLMTraining:
    """Trains a model on stories drawn from `seed`, one step at a time, in two phases: `look` and `read`.

    `frames`: rendered in a step of `look`; `talks`: conversations in a step of `read`; `stories`: the number of stories
    that the conversations are about.
    """

    def __init__(
        self,
        llm: TransformersLLM,
        seed: int,
        learning_rate: float,
        frames: int,
        talks: int,
        stories: int,
    ) -> None:
        for name, value in (("frames", frames), ("talks", talks), ("stories", stories)):
            if value < 1:
                raise UserError(f"teaching.{name}={value}: choose at least 1")
        self.llm, self.learning_rate = llm, learning_rate
        self.frames, self.talks, self.stories = frames, talks, stories
        self.random = Random(f"video language model {seed}")
        self.model = llm.model.requires_grad_(True).train()
        self.token_space = llm.token_space(VIDEO)
        self.shown = VIDEO.spread(self.token_space.sampling.frames)
        look = llm.processor.video_processor
        self.norms = torch.tensor([look.image_mean, look.image_std], device=llm.device)[:, :, None, None]
        self.judge = nn.Linear(self.token_space.width, sum(map(len, ASPECTS)), device=llm.device)
        self.pool: list[tuple[Story, Tensor]] = []
        self.question, self.answer = cache(self._question), cache(self._answer)
        base = self.model.base_model
        sight = [*base.vision_tower.parameters(), *base.multi_modal_projector.parameters()]
        seeing = {id(parameter) for parameter in sight}
        reader = [parameter for parameter in self.model.parameters() if id(parameter) not in seeing]
        self.phases = {
            self.look: _optimizer([*sight, *self.judge.parameters()]),
            self.read: _optimizer(reader),
        }

    def step(self, learn: Callable[[], Tensor], taken: int, progress: float) -> float:
        """Take one step of the phase `learn` (`look` or `read`) at `progress` in [0, 1] of it; returns its loss."""
        optimizer = self.phases[learn]
        rate = min(1.0, (taken + 1) / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2
        optimizer.param_groups[0]["lr"] = rate * self.learning_rate
        loss = learn()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()
        return float(loss.detach())

    def look(self) -> Tensor:
        """The loss of the first phase: classification of ASPECTS from the token of one frame, and the tokens' size."""
        stories = [draw_story(self.random, False) for _ in range(max(1, self.frames // STEPS))]
        numbers = [[scene * SCENE + self.random.randrange(SCENE) for scene in range(STEPS)] for _ in stories]
        frames = torch.cat([show(story, self.random, each) for story, each in zip(stories, numbers, strict=True)])
        truth = torch.tensor([facts(step) for story in stories for step in story.steps], device=self.llm.device)
        tokens = self.see(frames).mean(1)
        logits = self.judge(_noisy(tokens)).split([len(aspect) for aspect in ASPECTS], dim=-1)
        losses = [F.cross_entropy(each, truth[:, place]) for place, each in enumerate(logits)]
        return torch.stack(losses).sum() + LEAN * tokens.square().mean()

    def read(self) -> Tensor:
        """The loss of the second phase: cross-entropy of answers about whole videos, whose tokens are computed once."""
        if not self.pool:
            self.pool = self._watch()
        chosen = [self.random.choice(self.pool) for _ in range(self.talks)]
        talks = [self.talk(story) for story, _ in chosen]
        longest = max(len(ids) for ids, _ in talks)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in talks], device=self.llm.device)
        asked = torch.tensor([answers + [False] * (longest - len(answers)) for _, answers in talks])
        asked = asked.to(self.llm.device)[:, 1:]
        tokens = _noisy(torch.stack([tokens for _, tokens in chosen]))
        newline = self.model.base_model.image_newline.expand(len(chosen), 1, -1)
        video = BaseModelOutputWithPooling(pooler_output=torch.cat([tokens, newline], dim=1))
        # No mask: the padding of a shorter conversation comes after all ids that are in the loss.
        hidden = self.model.base_model(input_ids=ids, mm_encoder_outputs={"video": video}, use_cache=False)[0]
        return F.cross_entropy(self.model.lm_head(hidden[:, :-1][asked]), ids[:, 1:][asked])

    def see(self, frames: Tensor) -> Tensor:
        """Encode frames (N, 3, SIDE, SIDE) uint8 as tokens (N, M, d), as `features` does."""
        mean, std = self.norms
        pixels = (frames.to(self.llm.device) / 255 - mean) / std
        return self.model.base_model.get_video_features(pixels[:, None], return_dict=True).pooler_output[:, :-1]

    def talk(self, story: Story) -> tuple[list[int], list[bool]]:
        """The ids of a conversation about a story, and for each id whether it is a target of the loss."""
        ids, targets = [], []
        for turn in range(1 + (self.random.random() < FOLLOWED)):
            if self.random.random() < DESCRIBED:
                question, answer = self.random.choice(DESCRIBE), story.paragraph
            else:
                asked = draw_question(story, self.random)
                question, answer = asked.word(self.random), asked.answer
            before, after = self.question(question, turn == 0), self.answer(answer)
            ids += before + after
            targets += [False] * len(before) + [True] * (len(after) - 1) + [False]
        return ids, targets

    @torch.no_grad()
    def _watch(self) -> list[tuple[Story, Tensor]]:
        stories = [draw_story(self.random, False) for _ in range(self.stories)]
        encoded = []
        for start in range(0, self.stories, WATCHED):
            frames = [show(story, self.random, self.shown) for story in stories[start : start + WATCHED]]
            encoded += list(self.see(torch.cat(frames)).reshape(len(frames), self.token_space.tokens, -1))
        return list(zip(stories, encoded, strict=True))

    def _question(self, text: str, first: bool) -> list[int]:
        return self.llm.prompt([Message("user", text)], self.token_space if first else None).ids[0].tolist()

    def _answer(self, text: str) -> list[int]:
        """The ids of an answer as the chat template writes it; its line break is not a target of the loss."""
        return self.llm.tokenizer(f"{text}{END}\n").input_ids


def train_video_llm(teaching: VideoLLMTraining, steps: int, looking: float = 0.6) -> None:
    """Train for `steps` steps, the share `looking` in the first phase; the learning rate falls to zero in each."""
    if steps < 2:
        raise UserError(f"teacher_steps={steps}: choose at least 2, one for each phase")
    if not 0 < looking < 1:
        raise UserError(f"teacher_looking={looking}: choose a share between 0 and 1")
    first = min(max(round(looking * steps), 1), steps - 1)
    for learn, count in ((teaching.look, first), (teaching.read, steps - first)):
        take_steps(count, learn.__name__, partial(teaching.step, learn))


def save_trained(llm: TransformersLLM, folder: str | Path) -> None:
    """Write a Hugging Face folder, which `load_video_llm` reads."""
    llm.model.config.untrained = False
    with writing(folder) as draft:
        llm.model.eval().save_pretrained(draft)
        llm.processor.save_pretrained(draft)


def _optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def _noisy(tokens: Tensor) -> Tensor:
    return tokens + NOISE * torch.randn_like(tokens)
