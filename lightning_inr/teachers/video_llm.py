"""What a video language model is to the rest of the house: a reader of tokens and, if it sees, a teacher that makes
them."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape


class Message(NamedTuple):
    """One turn of a conversation; the video stands before the text of the first turn of the user."""

    role: str  # user or assistant
    text: str


@dataclass(frozen=True)
class Prompt:
    """A conversation as a model reads it, with room for the tokens of a video; made without a pixel."""

    ids: Tensor  # (1, L), the room included
    tokens: int = 0  # of the video, that differ from video to video
    grids: Mapping[str, Any] = field(default_factory=dict)  # what else places the tokens in space and time

    @property
    def length(self) -> int:
        """How many tokens the model reads before it answers, those of the video among them."""
        return self.ids.shape[1]


class VideoLLM(Protocol):
    """A language model that reads a video as tokens among the words."""

    @property
    def name(self) -> str:
        """For people: a hub id or a folder."""

    @property
    def fingerprint(self) -> str:
        """Of what reads the tokens, in hexadecimal: the same in any precision, with and without the vision tower."""

    @property
    def has_vision(self) -> bool:
        """Whether the vision tower is there: without it nothing but `features` is missing."""

    @property
    def vision_fingerprint(self) -> str:
        """Of all that makes tokens of frames, in hexadecimal: the key of what is kept of them; UserError without it."""

    @property
    def context(self) -> int | None:
        """How many tokens it can read, its own answer among them; None if it does not say."""

    @property
    def untrained(self) -> bool:
        """Whether its weights are random, as those of `write_small`: it tests plumbing, and understands nothing."""

    def token_space(self, video: VideoShape) -> TokenSpace:
        """What it would make of `video`: how it is shown, and how many tokens of which width that gives."""

    def features(self, frames: Sequence[Tensor], space: TokenSpace) -> Tensor:
        """The shown frames, (3, H, W) uint8 of one size -> tokens (K, d) float32 on the CPU, without a gradient.

        UserError without the vision tower.
        """

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Prompt:
        """The conversation up to where the model answers, about a video of that `space`; None: text alone."""

    def logits(self, prompt: Prompt, tokens: Tensor | None, answer: Tensor) -> Tensor:
        """How likely each next token was, (A, V), had it answered the ids `answer` (A,); differentiable in `tokens`."""

    def answer(self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128) -> Tensor:
        """The likeliest answer, token by token: at most `most` ids (A,), on the CPU, the one that ends it included."""

    def generate(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        """The answer piece by piece as it is found; closing the iterator ends the search.

        `sampling` is what `GenerationMixin.generate` of transformers takes, such as do_sample=True, temperature=0.7.
        """

    def read(self, ids: Tensor) -> str:
        """Ids as text; those that only steer the model are left out."""


def check_space(name: str, space: TokenSpace, tokens: int, width: int) -> None:
    """UserError where a file says that `name` made other tokens of its showing than the (tokens, width) it makes."""
    if (space.tokens, space.width) != (tokens, width):
        raise UserError(
            f"bitstream: it says {space.tokens} tokens of {space.width} numbers, and {name} makes {tokens} of {width} "
            "of its showing; align it anew with task=align"
        )


def sampled(sampling: FrameSampling) -> str:
    """The sentence that says how many frames there are, and when."""
    seconds = ", ".join(str(round(frame * sampling.seconds, 1)) for frame in range(sampling.frames))
    return f"The video contains {sampling.frames} frames sampled at {seconds} seconds."
