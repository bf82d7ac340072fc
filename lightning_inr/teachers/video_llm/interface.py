"""The interface of a video language model: it answers from visual tokens, and encodes frames as visual tokens."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape


class Message(NamedTuple):
    """One turn of a conversation; the video precedes the text of the user's first turn."""

    role: str  # user or assistant
    text: str


@dataclass(frozen=True)
class Prompt:
    """A tokenised conversation with placeholders for visual tokens; it does not depend on pixels."""

    ids: Tensor  # (1, L), placeholders included
    tokens: int = 0  # number of visual tokens, without constant ones such as line breaks
    grids: Mapping[str, Any] = field(default_factory=dict)  # further arguments for the positions of the visual tokens

    @property
    def length(self) -> int:
        """Number of tokens before the answer, visual tokens included."""
        return self.ids.shape[1]


class VideoLLM(Protocol):
    """A language model whose input is text with the visual tokens of a video."""

    @property
    def name(self) -> str:
        """The name for display: a hub id or a folder."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal fingerprint of the language model: independent of precision and of the vision tower."""

    @property
    def has_vision(self) -> bool:
        """Whether the vision tower is loaded, which only `features` and `vision_fingerprint` need."""

    @property
    def vision_fingerprint(self) -> str:
        """Hexadecimal fingerprint of the encoding of frames, the key of cached tokens; UserError without the tower."""

    @property
    def context(self) -> int | None:
        """Number of tokens in its context, the answer included; None if unknown."""

    @property
    def untrained(self) -> bool:
        """Whether its weights are random, as those of `write_small`: its answers have no meaning."""

    def token_space(self, video: VideoShape) -> TokenSpace:
        """The token space of `video`: the frame sampling, and the number and width of the visual tokens."""

    def features(self, frames: Sequence[Tensor], space: TokenSpace) -> Tensor:
        """Encode the sampled frames, (3, H, W) uint8 of one size: visual tokens (K, d) float32 on the CPU.

        No gradient is computed. UserError without the vision tower.
        """

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Prompt:
        """The conversation up to the start of the answer, with a video of `space`; None: without a video."""

    def logits(self, prompt: Prompt, tokens: Tensor | None, answer: Tensor) -> Tensor:
        """Logits (A, V) of each id of `answer` (A,) after the prompt; differentiable in `tokens`."""

    def answer(self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128) -> Tensor:
        """Generate an answer greedily: at most `max_new_tokens` ids (A,) on the CPU, with the end mark."""

    def generate(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        """Generate an answer piece by piece; closing the iterator stops the generation.

        `sampling` is passed to `GenerationMixin.generate` of transformers, such as do_sample=True, temperature=0.7.
        """

    def read(self, ids: Tensor) -> str:
        """Decode ids as text without special tokens."""


def check_space(name: str, space: TokenSpace, tokens: int, width: int) -> None:
    """UserError if the `space` of a file differs from the (tokens, width) of the model `name` for its frames."""
    if (space.tokens, space.width) != (tokens, width):
        raise UserError(
            f"bitstream: it has {space.tokens} tokens of {space.width} numbers, but {name} gives {tokens} of {width} "
            "for its frames; align it again with task=align"
        )


def sampled(sampling: FrameSampling) -> str:
    """The sentence of a prompt with the number of sampled frames and their times."""
    seconds = ", ".join(str(round(frame * sampling.seconds, 1)) for frame in range(sampling.frames))
    return f"The video contains {sampling.frames} frames sampled at {seconds} seconds."
