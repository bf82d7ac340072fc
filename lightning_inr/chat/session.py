"""One conversation about one video."""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.teachers.video_llm import Message, Prompt, VideoLLM
from lightning_inr.types import TokenSpace


class Session:
    """Questions and answers about the video that `tokens` (K, d) stand for; each answer sees those before it.

    `sampling` goes to `VideoLLM.generate` as it is; without any, answers are greedy.
    """

    def __init__(
        self, llm: VideoLLM, token_space: TokenSpace, tokens: Tensor, max_new_tokens: int = 128, **sampling: Any
    ) -> None:
        self.llm, self.token_space, self.tokens = llm, token_space, tokens
        self.max_new_tokens, self.sampling = max_new_tokens, sampling
        self.forget()

    def forget(self) -> None:
        """Begin anew, with the same video."""
        self.history: list[Message] = []
        self.dropped = 0  # exchanges that the model can no longer see, as its context was full

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer as it comes; UserError, at once, for an empty question or one beyond the model's context.

        If the iterator is closed or interrupted the model stops, and what has come is the answer that is remembered;
        where nothing has, the question is forgotten too.
        Where the history no longer fits, the oldest exchange after the first goes, and `dropped` counts it.
        """
        check_question(question)
        asked = Message("user", question)
        return self._answer(asked, self._fitting(asked))

    def _answer(self, asked: Message, prompt: Prompt) -> Generator[str, None, None]:
        pieces: list[str] = []
        # Closed here and not by the collector, which may come late: until then the model would go on.
        with closing(self.llm.generate(prompt, self.tokens, self.max_new_tokens, **self.sampling)) as answer:
            try:
                for piece in answer:
                    pieces.append(piece)
                    yield piece
            finally:
                if pieces:
                    self.history += [asked, Message("assistant", "".join(pieces))]

    def _fitting(self, asked: Message) -> Prompt:
        """The prompt, of as much of the history as the model can read with room for an answer."""
        kept = self.history.copy()
        while True:
            prompt = self.llm.prompt([*kept, asked], self.token_space)
            if self.llm.context is None or prompt.length + self.max_new_tokens <= self.llm.context:
                self.dropped += (len(self.history) - len(kept)) // 2
                self.history = kept
                return prompt
            if not kept:
                raise UserError(
                    f"question: with the video it is {prompt.length} tokens, and max_new_tokens={self.max_new_tokens} "
                    f"for the answer; {self.llm.name} reads {self.llm.context} in all: ask less or lower max_new_tokens"
                )
            start = 2 if len(kept) > 2 else 0
            del kept[start : start + 2]


def check_question(question: str) -> None:
    """UserError for an empty one, or for bytes that are no text."""
    if not question.strip():
        raise UserError('question: it is empty; ask for something, as in question="What happens?"')
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"question={question!a}: not in UTF-8; type it again in UTF-8") from error
