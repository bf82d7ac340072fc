"""Questions about stories with known answers."""

from random import Random
from typing import Any

import pytest

from lightning_inr.data.shapes.export import list_entries
from lightning_inr.data.shapes.grammar import TASKS, ActionStep, Story, Task, draw_story, steps_of
from lightning_inr.data.shapes.questions import draw_question, questions_about, shapes_questions
from lightning_inr.errors import UserError


def answers(story: Story) -> dict[str, str]:
    """Every wording of every question -> its answer."""
    return {words: each.answer for each in questions_about(story) for words in each.wordings}


def test_questions_about_motion() -> None:
    task = Task("ball", "move")
    answer_of = answers(
        Story((ActionStep(task, "left", "red"), ActionStep(task, "up", "blue"), ActionStep(task, "left", "blue")))
    )
    assert answer_of["What shape is it?"] == "ball"
    assert answer_of["What does it do?"] == "it moves"
    assert answer_of["What colour is it at first?"] == "red"
    assert answer_of["What colour is the ball at the end?"] == "blue"
    assert answer_of["Where does the ball roll halfway?"] == "up"
    assert answer_of["How many colours are there?"] == "two"
    assert answer_of["How many different directions does it show?"] == "two"


def test_questions_about_colour_changes() -> None:
    task = Task("star", "recolour")
    steps = (
        ActionStep(task, "turns", "red", "blue"),
        ActionStep(task, "turns", "green", "red"),
        ActionStep(task, "turns", "blue", "white"),
    )
    answer_of = answers(Story(steps))
    assert answer_of["What colour is it at first?"] == "red"
    assert answer_of["What colour is it at last?"] == "white"
    assert answer_of["What colour does it turn into in the beginning?"] == "blue"
    assert answer_of["How many colours are there?"] == "four"
    assert "What colour is it halfway?" not in answer_of  # two of them


def test_questions_about_orbits_and_sizes() -> None:
    orbit, resize = Task("ring", "orbit"), Task("ring", "resize")
    answer_of = answers(Story(tuple(ActionStep(orbit, "clockwise", colour) for colour in ("red", "blue", "green"))))
    assert answer_of["Which way does it orbit at last?"] == "clockwise"
    assert answer_of["How many directions are there?"] == "one"
    answer_of = answers(
        Story(
            (
                ActionStep(resize, "grows", "red"),
                ActionStep(resize, "shrinks", "red"),
                ActionStep(resize, "grows", "blue"),
            )
        )
    )
    assert answer_of["Does the ring grow or shrink in the middle?"] == "shrinks"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_question_has_two_answers(task: Task) -> None:
    story = Story(steps_of(task)[:3])
    questions = questions_about(story)
    assert sum(len(each.wordings) for each in questions) == len(answers(story))
    assert all(1 <= len(each.answer.split()) <= 2 for each in questions)


def test_a_drawn_question_is_about_the_story() -> None:
    random = Random(0)
    story = draw_story(random, held_out=False)
    drawn = {draw_question(story, random) for _ in range(200)}
    assert drawn == set(questions_about(story))


def test_evaluation_questions_are_of_the_split_and_deterministic() -> None:
    test, train = shapes_questions("test", videos=4, each=3), shapes_questions("train", videos=4, each=3)
    assert test == shapes_questions("test", videos=4, each=3)
    assert [each.video for each in test] == [f"video{number // 3}" for number in range(12)]
    assert {each.video for each in train} == {f"video{number}" for number in range(4, 8)}
    stories = {entry.id: entry.story for entry in list_entries(4, 0)}
    for question in test + train:
        assert answers(stories[question.video])[question.text] == question.answer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "questions.split=val: choose one of test, train"),
        ({"videos": 0}, "questions.videos=0: choose 1 to 480"),
        ({"each": 0}, "questions.each=0: choose at least 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shapes_questions(**options)
