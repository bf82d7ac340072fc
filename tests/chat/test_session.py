"""A conversation remembers, forgets what no longer fits, and survives being cut short."""

from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from lightning_inr.chat.session import Session
from lightning_inr.errors import UserError
from lightning_inr.teachers.video_llm.interface import Message, VideoLLM
from lightning_inr.types import FrameSampling, TokenSpace

SPACE = TokenSpace("echo", "0", 2, 0, 4, FrameSampling(2, 8, 8, 1.0))


class Echo:
    """Answers with the number of messages it was shown, letter by letter; a word is a token."""

    name, fingerprint, sees, untrained = "echo", "0", False, True

    def __init__(self, context: int | None = None) -> None:
        self.context = context
        self.shown: list[list[Message]] = []
        self.closed = 0

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Any:
        words = sum(len(message.text.split()) for message in messages)
        return SimpleNamespace(length=words, messages=list(messages))

    def generate(
        self, prompt: Any, tokens: Any, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        self.shown.append(prompt.messages)
        try:
            yield from f"{len(prompt.messages)} seen"
        finally:
            self.closed += 1


def session(context: int | None = None, max_new_tokens: int = 4) -> tuple[Session, Echo]:
    llm = Echo(context)
    return Session(cast(VideoLLM, llm), SPACE, torch.zeros(2, 4), max_new_tokens), llm


def test_a_follow_up_sees_the_history() -> None:
    talk, llm = session()
    assert "".join(talk.ask("What happens?")) == "1 seen"
    assert "".join(talk.ask("And then?")) == "3 seen"
    assert [(message.role, message.text) for message in llm.shown[-1]] == [
        ("user", "What happens?"), ("assistant", "1 seen"), ("user", "And then?"),
    ]  # fmt: skip
    talk.forget()
    assert "".join(talk.ask("And now?")) == "1 seen"


@pytest.mark.parametrize("cut", ["closed", "interrupted"])
def test_an_answer_cut_short_is_kept_as_far_as_it_came(cut: str) -> None:
    talk, llm = session()
    answer = talk.ask("What happens?")
    assert next(answer) + next(answer) == "1 "
    if cut == "closed":
        answer.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            answer.throw(KeyboardInterrupt())
    assert llm.closed == 1
    assert talk.history[-1] == Message("assistant", "1 ")
    assert "".join(talk.ask("Go on")) == "3 seen"


def test_what_was_never_answered_is_not_remembered() -> None:
    talk, _ = session()
    talk.ask("What happens?").close()
    assert talk.history == []


@pytest.mark.parametrize(
    ("question", "said"), [("", "it is empty"), ("  \n", "it is empty"), ("\udcff?", "not in UTF-8")]
)
def test_a_question_that_says_nothing_is_refused_at_once(question: str, said: str) -> None:
    talk, llm = session()
    with pytest.raises(UserError, match=said):
        talk.ask(question)
    assert llm.shown == []


def test_the_oldest_exchange_after_the_first_is_dropped_where_the_context_is_full() -> None:
    talk, llm = session(context=20)
    for number in range(4):
        "".join(talk.ask(f"question number {number}"))
    assert talk.dropped == 1
    assert [message.text for message in llm.shown[-1] if message.role == "user"] == [
        "question number 0", "question number 2", "question number 3",
    ]  # fmt: skip


def test_a_question_beyond_the_context_leaves_the_history_alone() -> None:
    talk, _ = session(context=12)
    "".join(talk.ask("a short one"))
    with pytest.raises(UserError, match="reads 12 in all"):
        talk.ask("word " * 20)
    assert len(talk.history) == 2
    assert talk.dropped == 0
