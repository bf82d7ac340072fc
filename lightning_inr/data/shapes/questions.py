"""Questions about a story of `shapes` in several wordings, with answers of one or two words."""

from collections.abc import Iterable, Sized
from random import Random
from typing import NamedTuple

from lightning_inr.data.captioned.questions import Question
from lightning_inr.data.shapes.export import list_entries
from lightning_inr.data.shapes.grammar import ActionStep, Story
from lightning_inr.data.shapes.listing import MOST, SPLITS
from lightning_inr.errors import UserError

WHEN = (("at first", "in the beginning"), ("in the middle", "halfway"), ("at last", "at the end"))  # one entry per step
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
FAMILY = {"move": "it moves", "resize": "changes size", "orbit": "it orbits", "recolour": "changes colour"}
EVENTS = {  # family -> the kind of question about one step, and its wordings
    "move": (
        "direction",
        "Which way does it {verb} {}?",
        "Where does the {shape} {verb} {}?",
        "Which way does it move {}?",
    ),
    "orbit": (
        "orbit",
        "Which way does it orbit {}?",
        "How does the {shape} orbit {}?",
        "Which way round does it go {}?",
    ),
    "resize": (
        "size",
        "Does it grow or shrink {}?",
        "Does the {shape} grow or shrink {}?",
        "How does its size change {}?",
    ),
    "recolour": (
        "becomes",
        "What colour does it turn into {}?",
        "Into which colour does the {shape} turn {}?",
        "What does it become {}?",
    ),
}
DESCRIBE = ("What happens?", "Describe the video.", "What is to be seen?")


class QuestionWordings(NamedTuple):
    """A question in all its wordings, with its kind and answer."""

    kind: str
    wordings: tuple[str, ...]
    answer: str

    def random_wording(self, random: Random) -> str:
        """A random wording."""
        return random.choice(self.wordings)


def questions_about(story: Story) -> list[QuestionWordings]:
    """All questions about a story that have an answer of one or two words."""
    questions = [
        QuestionWordings("shape", ("What shape is it?", "Which shape is to be seen?", "What is it?"), story.task.shape),
        QuestionWordings("family", ("What does it do?", "What kind of thing happens?"), FAMILY[story.task.family]),
        _count("colours", {step.colour for step in story.steps} | {step.becomes for step in story.steps} - {None}),
    ]
    if story.task.family == "recolour":
        (first, _, last), (start, _, end) = WHEN, story.steps
        questions += [_colour(story, first, start.colour), _colour(story, last, str(end.becomes))]
    else:
        questions += [_colour(story, when, step.colour) for when, step in zip(WHEN, story.steps, strict=True)]
        counted = "changes of size" if story.task.family == "resize" else "directions"
        questions.append(_count(counted, {step.action for step in story.steps}))
    return questions + [_step_question(story, when, step) for when, step in zip(WHEN, story.steps, strict=True)]


def draw_question(story: Story, random: Random) -> QuestionWordings:
    """A random question about a story; all kinds have the same probability."""
    questions = questions_about(story)
    kind = random.choice(sorted({each.kind for each in questions}))
    return random.choice([each for each in questions if each.kind == kind])


def shapes_questions(split: str = "test", videos: int = 96, seed: int = 0, each: int = 6) -> list[Question]:
    """`each` different questions about every video of a split of `shapes`, rendered with `videos` and `seed`."""
    if split not in SPLITS:
        raise UserError(f"questions.split={split}: choose one of {', '.join(SPLITS)}")
    if not 1 <= videos <= MOST:
        raise UserError(f"questions.videos={videos}: choose 1 to {MOST}")
    if each < 1:
        raise UserError(f"questions.each={each}: choose at least 1")
    questions = []
    for entry in list_entries(videos, seed):
        if entry.held_out == (split == "test"):
            random = Random(f"questions {seed} {entry.id}")
            about = questions_about(entry.story)
            for one in random.sample(about, min(each, len(about))):
                questions.append(Question(entry.id, one.random_wording(random), one.answer, one.kind))
    return questions


def _colour(story: Story, when: tuple[str, ...], colour: str) -> QuestionWordings:
    wordings = "What colour is it {}?", f"What colour is the {story.task.shape} {{}}?", "Which colour is there {}?"
    return _at_step("colour", wordings, when, colour)


def _step_question(story: Story, when: tuple[str, ...], step: ActionStep) -> QuestionWordings:
    """The question about the property that differs between steps: direction, change of size, or new colour."""
    kind, *wordings = EVENTS[story.task.family]
    formatted = [words.format("{}", shape=story.task.shape, verb=story.task.verb) for words in wordings]
    return _at_step(kind, formatted, when, step.becomes or step.action)


def _at_step(kind: str, wordings: Iterable[str], when: tuple[str, ...], answer: str) -> QuestionWordings:
    """A question about one step: each of the `wordings` with each expression of `when`."""
    return QuestionWordings(kind, tuple(words.format(time) for words in wordings for time in when), answer)


def _count(of: str, different: Sized) -> QuestionWordings:
    wordings = f"How many {of} are there?", f"How many different {of} does it show?"
    return QuestionWordings(f"count {of}", wordings, NUMBERS[len(different)])
