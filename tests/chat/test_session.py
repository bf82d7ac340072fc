"""Conversations: their history, its limit by the context, and interrupted answers."""

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
    """Answers with the number of messages in the prompt, letter by letter; a word is a token."""

    name, fingerprint, has_vision, untrained = "echo", "0", False, True

    def __init__(self, context: int | None = None) -> None:
        self.context = context
        self.prompts: list[list[Message]] = []
        self.closed = 0

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Any:
        words = sum(len(message.text.split()) for message in messages)
        return SimpleNamespace(length=words, messages=list(messages))

    def generate(
        self, prompt: Any, tokens: Any, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        self.prompts.append(prompt.messages)
        try:
            yield from f"{len(prompt.messages)} messages"
        finally:
            self.closed += 1


def session(context: int | None = None, max_new_tokens: int = 4) -> tuple[Session, Echo]:
    llm = Echo(context)
    return Session(cast(VideoLLM, llm), SPACE, torch.zeros(2, 4), max_new_tokens), llm


def test_a_second_question_includes_the_history() -> None:
    chat, llm = session()
    assert "".join(chat.ask("What happens?")) == "1 messages"
    assert "".join(chat.ask("And then?")) == "3 messages"
    assert [(message.role, message.text) for message in llm.prompts[-1]] == [
        ("user", "What happens?"), ("assistant", "1 messages"), ("user", "And then?"),
    ]  # fmt: skip
    chat.forget()
    assert "".join(chat.ask("And now?")) == "1 messages"


@pytest.mark.parametrize("cut", ["closed", "interrupted"])
def test_an_interrupted_answer_is_kept_in_the_history(cut: str) -> None:
    chat, llm = session()
    answer = chat.ask("What happens?")
    assert next(answer) + next(answer) == "1 "
    if cut == "closed":
        answer.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            answer.throw(KeyboardInterrupt())
    assert llm.closed == 1
    assert chat.history[-1] == Message("assistant", "1 ")
    assert "".join(chat.ask("Go on")) == "3 messages"


def test_unanswered_questions_are_not_in_the_history() -> None:
    chat, _ = session()
    chat.ask("What happens?").close()
    assert chat.history == []


@pytest.mark.parametrize(
    ("question", "message"), [("", "it is empty"), ("  \n", "it is empty"), ("\udcff?", "not in UTF-8")]
)
def test_an_empty_question_is_an_error(question: str, message: str) -> None:
    chat, llm = session()
    with pytest.raises(UserError, match=message):
        chat.ask(question)
    assert llm.prompts == []


def test_the_oldest_exchange_after_the_first_is_dropped_where_the_context_is_full() -> None:
    chat, llm = session(context=20)
    for number in range(4):
        "".join(chat.ask(f"question number {number}"))
    assert chat.dropped == 1
    assert [message.text for message in llm.prompts[-1] if message.role == "user"] == [
        "question number 0", "question number 2", "question number 3",
    ]  # fmt: skip


def test_a_question_beyond_the_context_does_not_change_the_history() -> None:
    chat, _ = session(context=12)
    "".join(chat.ask("a short one"))
    with pytest.raises(UserError, match="reads 12 in all"):
        chat.ask("word " * 20)
    assert len(chat.history) == 2
    assert chat.dropped == 0
