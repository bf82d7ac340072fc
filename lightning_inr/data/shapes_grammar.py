"""What happens in a video of `shapes`, and the words for it: tasks, steps, paragraphs, captions."""

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
STEPS = 3  # a video
TEMPLATES = ("{}, then {} and then {}", "{} before {}, and at the end {}")
OTHER_TEMPLATES = ("first {}, next {}, last {}", "{}; after that {}, and later {}", "{}, {}, {}")
HELD_OUT = 8  # one in so many combinations of steps is never trained on


class Task(NamedTuple):
    """What the steps of a video have in common, as the tasks of COIN: a shape, and a family of actions."""

    shape: str
    family: str

    @property
    def verb(self) -> str:
        """What the shape does, in the infinitive."""
        return SHAPES[self.shape] if self.family == "move" else self.family

    @property
    def name(self) -> str:
        """As COIN writes it: RollBall."""
        return self.verb.capitalize() + self.shape.capitalize()

    @property
    def words(self) -> str:
        """As one asks for it: roll ball."""
        return f"{self.verb} {self.shape}"


class Step(NamedTuple):
    """What happens in one scene."""

    task: Task
    action: str  # one of the family's
    colour: str
    becomes: str | None = None  # the other colour of a shape that turns

    @property
    def label(self) -> str:
        """In its usual words: a red ball rolls left."""
        if self.task.family == "move":
            return f"{self._subject} {self.task.verb.replace('fly', 'flie')}s {self.action}"
        if self.task.family == "orbit":
            return f"{self._subject} orbits {self.action}"
        return f"{self._subject} {self.action}{self._change}"

    @property
    def paraphrase(self) -> str:
        """In other words: a red ball moves left."""
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
    """What happens in one video: three different steps of one task."""

    steps: tuple[Step, ...]

    @property
    def task(self) -> Task:
        """That of all its steps."""
        return self.steps[0].task

    @property
    def sentences(self) -> list[str]:
        """A sentence a step; all but the first begin with a space, as in ActivityNet Captions."""
        labels = [step.label for step in self.steps]
        return [f"A{labels[0][1:]}.", *(f" Then {label}." for label in labels[1:-1]), f" Finally {labels[-1]}."]

    @property
    def paragraph(self) -> str:
        """All sentences."""
        return "".join(self.sentences)

    @property
    def captions(self) -> list[str]:
        """The whole video in one sentence, in several ways."""
        labels, others = [step.label for step in self.steps], [step.paraphrase for step in self.steps]
        return [each.format(*labels) for each in TEMPLATES] + [each.format(*others) for each in OTHER_TEMPLATES]

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the test split, which its steps alone decide, in whatever order."""
        return zlib.crc32("; ".join(sorted(step.label for step in self.steps)).encode()) % HELD_OUT == 0


TASKS = tuple(Task(shape, family) for shape in SHAPES for family in FAMILIES)


@cache
def steps_of(task: Task) -> tuple[Step, ...]:
    """Everything that can happen in a scene of this task."""
    if task.family == "recolour":
        return tuple(Step(task, "turns", *colours) for colours in permutations(COLOURS, 2))
    return tuple(Step(task, action, colour) for action in FAMILIES[task.family] for colour in COLOURS)


def draw_story(random: Random, held_out: bool, task: Task | None = None) -> Story:
    """A story of the test split, or one that is not of it; of any task if none is named."""
    task = task or random.choice(TASKS)
    while True:
        story = Story(tuple(random.sample(steps_of(task), STEPS)))
        if story.held_out == held_out:
            return story


def draw_stories(random: Random, held_out: bool, count: int) -> list[Story]:
    """So many stories, tasks in turn, no two with the same steps."""
    stories: dict[frozenset[Step], Story] = {}
    while len(stories) < count:
        story = draw_story(random, held_out, TASKS[len(stories) % len(TASKS)])
        stories.setdefault(frozenset(story.steps), story)
    return list(stories.values())
