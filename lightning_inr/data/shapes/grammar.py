"""Grammar of the videos of `shapes`: tasks, steps and stories, and their labels, paragraphs and captions."""

import zlib
from functools import cache
from itertools import permutations
from random import Random
from typing import NamedTuple

SHAPES = {"ball": "roll", "square": "slide", "triangle": "slide", "star": "fly", "ring": "roll", "cross": "fly"}
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white")
FAMILIES = {
    "move": ("left", "right", "up", "down"),
    "resize": ("grows", "shrinks"),
    "orbit": ("clockwise", "counterclockwise"),
    "recolour": ("turns",),
}
STEPS = 3  # per video
TEMPLATES = ("{}, then {} and then {}", "{} before {}, and at the end {}")
OTHER_TEMPLATES = ("first {}, next {}, last {}", "{}; after that {}, and later {}", "{}, {}, {}")
HELD_OUT = 8  # one in this many combinations of steps is held out from training


class Task(NamedTuple):
    """The common part of a video's steps, like the tasks of COIN: a shape, and a family of actions."""

    shape: str
    family: str

    @property
    def verb(self) -> str:
        """The action of the shape, in the infinitive."""
        return SHAPES[self.shape] if self.family == "move" else self.family

    @property
    def name(self) -> str:
        """The name in the style of COIN: RollBall."""
        return self.verb.capitalize() + self.shape.capitalize()

    @property
    def words(self) -> str:
        """The name in words, for queries: roll ball."""
        return f"{self.verb} {self.shape}"


class ActionStep(NamedTuple):
    """The action of one scene."""

    task: Task
    action: str  # one of the family's
    colour: str
    becomes: str | None = None  # second colour, for the family "recolour"

    @property
    def label(self) -> str:
        """The usual description: a red ball rolls left."""
        if self.task.family == "move":
            return f"{self._subject} {self.task.verb.replace('fly', 'flie')}s {self.action}"
        if self.task.family == "orbit":
            return f"{self._subject} orbits {self.action}"
        return f"{self._subject} {self.action}{self._change}"

    @property
    def paraphrase(self) -> str:
        """A second description: a red ball moves left."""
        if self.task.family == "move":
            return f"{self._subject} moves {self.action}"
        if self.task.family == "orbit":
            return f"{self._subject} goes round {self.action}"
        other = {"grows": "gets bigger", "shrinks": "gets smaller", "turns": "changes"}[self.action]
        return f"{self._subject} {other}{self._change}"

    @property
    def _subject(self) -> str:
        words = self.task.shape if self.becomes else f"{self.colour} {self.task.shape}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    @property
    def _change(self) -> str:
        return f" from {self.colour} to {self.becomes}" if self.becomes else ""


class Story(NamedTuple):
    """The content of one video: three different steps of one task."""

    steps: tuple[ActionStep, ...]

    @property
    def task(self) -> Task:
        """The task of all its steps."""
        return self.steps[0].task

    @property
    def sentences(self) -> list[str]:
        """One sentence per step; all but the first start with a space, as in ActivityNet Captions."""
        labels = [step.label for step in self.steps]
        return [f"A{labels[0][1:]}.", *(f" Then {label}." for label in labels[1:-1]), f" Finally {labels[-1]}."]

    @property
    def paragraph(self) -> str:
        """All sentences, concatenated."""
        return "".join(self.sentences)

    @property
    def captions(self) -> list[str]:
        """Several captions, each describing the whole video in one sentence."""
        labels, others = [step.label for step in self.steps], [step.paraphrase for step in self.steps]
        return [each.format(*labels) for each in TEMPLATES] + [each.format(*others) for each in OTHER_TEMPLATES]

    @property
    def held_out(self) -> bool:
        """Whether the story is in the test split; this depends on the set of its steps, not on their order."""
        return zlib.crc32("; ".join(sorted(step.label for step in self.steps)).encode()) % HELD_OUT == 0


TASKS = tuple(Task(shape, family) for shape in SHAPES for family in FAMILIES)


@cache
def steps_of(task: Task) -> tuple[ActionStep, ...]:
    """All possible steps of this task."""
    if task.family == "recolour":
        return tuple(ActionStep(task, "turns", *colours) for colours in permutations(COLOURS, 2))
    return tuple(ActionStep(task, action, colour) for action in FAMILIES[task.family] for colour in COLOURS)


def draw_story(random: Random, held_out: bool, task: Task | None = None) -> Story:
    """A random story of the test split (`held_out`) or of the training split; of a random task if none is given."""
    task = task or random.choice(TASKS)
    while True:
        story = Story(tuple(random.sample(steps_of(task), STEPS)))
        if story.held_out == held_out:
            return story


def draw_stories(random: Random, held_out: bool, count: int) -> list[Story]:
    """`count` random stories, with the tasks in turn, no two with the same steps."""
    stories: dict[frozenset[ActionStep], Story] = {}
    while len(stories) < count:
        story = draw_story(random, held_out, TASKS[len(stories) % len(TASKS)])
        stories.setdefault(frozenset(story.steps), story)
    return list(stories.values())
