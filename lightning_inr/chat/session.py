"""A conversation with a video language model about one video."""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.teachers.video_llm.interface import Message, Prompt, VideoLLM
from lightning_inr.types import TokenSpace


class Session:
    """Questions and answers about one video, given as visual tokens (K, d); a prompt contains the previous exchanges.

    `max_new_tokens`: of each answer. `sampling` is passed to `VideoLLM.generate`; without any, decoding is greedy.
    """

    def __init__(
        self, llm: VideoLLM, token_space: TokenSpace, tokens: Tensor, max_new_tokens: int = 128, **sampling: Any
    ) -> None:
        self.llm, self.token_space, self.tokens = llm, token_space, tokens
        self.max_new_tokens, self.sampling = max_new_tokens, sampling
        self.forget()

    def forget(self) -> None:
        """Clear the history; the video stays."""
        self.history: list[Message] = []
        self.dropped = 0  # exchanges removed from the history, as the model's context was full

    def ask(self, question: str) -> Generator[str, None, None]:
        """Generate an answer piece by piece; UserError for an empty question or one longer than the model's context.

        The error is raised by the call itself, not by the iterator. If the iterator is closed or interrupted, the model
        stops, and the pieces so far become the answer in the history; without any piece, the question is not added.
        If the history exceeds the context, the oldest exchange after the first is removed and counted in `dropped`.
        """
        check_question(question)
        message = Message("user", question)
        return self._answer(message, self._fit_prompt(message))

    def _answer(self, message: Message, prompt: Prompt) -> Generator[str, None, None]:
        pieces: list[str] = []
        # Closed explicitly: the model would generate until the garbage collector closes the iterator.
        with closing(self.llm.generate(prompt, self.tokens, self.max_new_tokens, **self.sampling)) as answer:
            try:
                for piece in answer:
                    pieces.append(piece)
                    yield piece
            finally:
                if pieces:
                    self.history += [message, Message("assistant", "".join(pieces))]

    def _fit_prompt(self, message: Message) -> Prompt:
        """The prompt with as much of the history as the context holds beside `max_new_tokens`."""
        history = self.history.copy()
        while True:
            prompt = self.llm.prompt([*history, message], self.token_space)
            if self.llm.context is None or prompt.length + self.max_new_tokens <= self.llm.context:
                self.dropped += (len(self.history) - len(history)) // 2
                self.history = history
                return prompt
            if not history:
                raise UserError(
                    f"question: with the video it is {prompt.length} tokens, and max_new_tokens={self.max_new_tokens} "
                    f"for the answer; {self.llm.name} reads {self.llm.context} in all: shorten the question or lower "
                    "max_new_tokens"
                )
            start = 2 if len(history) > 2 else 0
            del history[start : start + 2]


def check_question(question: str) -> None:
    """UserError if `question` is empty or not valid UTF-8."""
    if not question.strip():
        raise UserError('question: it is empty; give one, such as question="What happens?"')
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"question={question!a}: not in UTF-8; type it again in UTF-8") from error
