"""Video-LLaMA as published (Zhang, Li and Bing, EMNLP 2023): a clip of any length is 32 tokens to a LLaMA."""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from copy import deepcopy
from functools import cached_property, partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from lightning_inr.errors import UserError
from lightning_inr.teachers.checkpoint import SAMPLE, digest, find_weights, fingerprint
from lightning_inr.teachers.loading import greedy, load_whole, placing, quiet, reason, remedy
from lightning_inr.teachers.streaming import stream
from lightning_inr.teachers.video_llama_checkpoint import clip_shape, read_projection, read_published, read_tower
from lightning_inr.teachers.video_llama_prompt import STOPS, segments
from lightning_inr.teachers.video_llama_tower import SIDE, Tower, prepare
from lightning_inr.teachers.video_llm import Message, Prompt, check_space
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape


class VideoLlama:
    """A `VideoLLM`: a LLaMA, `llama_proj` that takes a token of the video to it, and, if it sees, the tower.

    The tokens are what the Q-Former of the video gives, before `llama_proj`: 32 of 768 numbers in the published model.
    """

    def __init__(
        self, language: Any, tokenizer: Any, projection: nn.Linear, vision: Tower | None, style: str,
        name: str, fingerprint: str, frames: int, tokens: int,
    ) -> None:  # fmt: skip
        self.language, self.tokenizer, self.vision, self.style = language, tokenizer, vision, style
        self.name, self.fingerprint, self.frames, self.tokens = name, fingerprint, frames, tokens
        words = language.get_input_embeddings().weight
        self.device = words.device
        self.projection = projection.to(self.device, words.dtype).requires_grad_(False)
        self.generation = greedy(language)
        if vision is not None:
            vision.to(self.device)

    @property
    def has_vision(self) -> bool:
        """Whether the ViT and both Q-Formers are there."""
        return self.vision is not None

    @cached_property
    def vision_fingerprint(self) -> str:
        """Fingerprint of all that makes tokens of frames: the weights, the configuration and the preparation."""
        vision = self._sight()
        told: dict[str, Any] = {
            "vision": vision.vision_model.config.to_dict(),
            "qformer": vision.qformer.config.to_dict(),
        }
        told |= {"side": SIDE, "transformers": transformers.__version__}
        named = vision.state_dict().items()
        return digest(told, ((name, tensor.flatten()[:: 1 + tensor.numel() // SAMPLE].cpu()) for name, tensor in named))

    @property
    def untrained(self) -> bool:
        """Whether its weights are those of `write_small_video_llama`, which understand nothing."""
        return bool(getattr(self.language.config, "untrained", False))

    @property
    def context(self) -> int:
        """How many tokens the LLaMA reads, the answer's among them."""
        return self.language.config.max_position_embeddings

    def token_space(self, video: VideoShape) -> TokenSpace:
        """Frames of 224x224, at most as many as are wished for; the number of tokens does not depend on theirs."""
        count = min(self.frames, video.frames)
        seconds = (video.frames - 1) / (count - 1) / video.fps if count > 1 else 1 / video.fps
        sampling = FrameSampling(count, SIDE, SIDE, seconds)
        return TokenSpace(self.name, self.fingerprint, self.tokens, 0, self.projection.in_features, sampling)

    def features(self, frames: Sequence[Tensor], space: TokenSpace) -> Tensor:
        """Frames (3, H, W) uint8 in the order of time -> (32, 768) float32 on the CPU; UserError without the tower."""
        vision = self._sight()
        pixels = torch.stack([prepare(frame.cpu()) for frame in frames])
        with torch.no_grad():
            return vision(pixels.to(self.device)).cpu()

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Prompt:
        """The published conversation; each side of the video is split into tokens by itself, as there.

        UserError for a `space` of other tokens than its own.
        """
        if space is not None:
            check_space(self.name, space, self.tokens, self.projection.in_features)
        marks = (self.tokenizer.bos_token or "", self.tokenizer.eos_token or "")
        first, *rest = segments(self.style, messages, space and space.sampling, *marks)
        before = self._ids(first, True)
        if not rest:
            return Prompt(before)
        assert space is not None
        room = before.new_zeros(1, space.tokens)
        after = self._ids(rest[0], False)
        return Prompt(torch.cat([before, room, after], 1), space.tokens, {"start": before.shape[1]})

    def logits(self, prompt: Prompt, tokens: Tensor | None, answer: Tensor) -> Tensor:
        """Of the answer's ids (A,), each after those before it: (A, V)."""
        read = self._read(prompt, tokens)
        said = self._words(answer[None, :-1])
        found = self.language(inputs_embeds=torch.cat([read, said], 1), logits_to_keep=len(answer), use_cache=False)
        return found.logits[0].float()

    @torch.inference_mode()
    def answer(self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128) -> Tensor:
        """The greedy answer's ids (A,), the one that ends it included, on the CPU."""
        return self._search(prompt, tokens, max_new_tokens)()[0].cpu()

    def generate(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        """The answer's text as it is found; closing the iterator ends the search."""
        search = self._search(prompt, tokens, max_new_tokens, **sampling)
        with closing(stream(search, self.tokenizer)) as pieces:
            yield from _until(STOPS[self.style], pieces)

    def read(self, ids: Tensor) -> str:
        """Ids as text, up to what ends an answer."""
        return "".join(_until(STOPS[self.style], [self.tokenizer.decode(ids, skip_special_tokens=True)]))

    def _sight(self) -> Tower:
        if self.vision is None:
            raise UserError(
                f"video_llm.load_vision=false: {self.name} has no vision tower here; set video_llm.load_vision=true"
            )
        return self.vision

    def _search(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int, **options: Any
    ) -> Callable[..., Tensor]:
        """A call that looks for an answer; it gives the ids of the answer alone, since it is given no others."""
        read = self._read(prompt, tokens)
        seen = torch.ones(read.shape[:2], dtype=torch.long, device=read.device)
        wishes = deepcopy(self.generation)
        others = wishes.update(max_new_tokens=max_new_tokens, stop_strings=STOPS[self.style], **options)
        given = {"inputs_embeds": read, "attention_mask": seen, "generation_config": wishes}
        return partial(self.language.generate, **given, tokenizer=self.tokenizer, **others)

    def _read(self, prompt: Prompt, tokens: Tensor | None) -> Tensor:
        """What the language model reads (1, L, hidden size): words, and in their midst the tokens of the video."""
        words = self._words(prompt.ids)
        if not prompt.tokens:
            return words
        if tokens is None or tokens.shape != (prompt.tokens, self.projection.in_features):
            given = "none" if tokens is None else "x".join(map(str, tokens.shape))
            raise ValueError(f"tokens {given} for a prompt of {prompt.tokens}x{self.projection.in_features}")
        start = prompt.grids["start"]
        video = self.projection(tokens.to(words.device, words.dtype))[None]
        return torch.cat([words[:, :start], video, words[:, start + prompt.tokens :]], 1)

    def _words(self, ids: Tensor) -> Tensor:
        return self.language.get_input_embeddings()(ids.to(self.device))

    def _ids(self, text: str, first: bool) -> Tensor:
        return self.tokenizer(text, return_tensors="pt", add_special_tokens=first).input_ids


def load_video_llama(
    weights: str | None,
    llama: str = "meta-llama/Llama-2-7b-chat-hf",
    blip2: str = "Salesforce/blip2-flan-t5-xxl",
    style: str = "llama_2",
    load_vision: bool = True,
    frames: int = 8,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | None = None,
    bits: int | None = None,
) -> VideoLlama:
    """Video-LLaMA of three pieces: `weights`, a published checkpoint (a file), and a `llama` and a `blip2` (hub ids or
    folders) that it was trained on. The published ones see with the ViT-g and the Q-Former of BLIP-2 for FlanT5-XXL.

    `style` is how the conversation is written: llama_2 or vicuna, as the `llama` is. At most `frames` are shown.
    `load_vision=False` leaves `blip2` and both Q-Formers on the disk. Of `llama` alone are `dtype`, `device_map` and
    `bits` (see `load_video_llm`); the vision part has float32. UserError if a piece is missing or
    does not fit the others.
    """
    if style not in STOPS:
        raise UserError(f"video_llm.style={style}: choose {', '.join(STOPS)}")
    if not isinstance(frames, int) or frames < 1:
        raise UserError(f"video_llm.frames={frames}: choose a whole number from 1")
    placed = placing(dtype, device, device_map, bits)
    published = read_published(weights)
    places, tokens, width = clip_shape(published, weights)
    if frames > places:
        warnings.warn(f"{weights} has a place for {places} frames, not {frames}: {places} are shown", stacklevel=2)
    projection = read_projection(published, weights, width)
    language, tokenizer, mark = _load_language(os.path.expanduser(llama), placed)
    if language.config.hidden_size != projection.out_features:
        raise UserError(
            f"video_llm.llama={llama}: its words have {language.config.hidden_size} numbers, but {weights} was "
            f"trained on one of {projection.out_features}; name that one"
        )
    vision = read_tower(published, weights, os.path.expanduser(blip2)) if load_vision else None
    mark = digest({"language": mark, "style": style}, projection.state_dict().items())
    return VideoLlama(language, tokenizer, projection, vision, style, str(weights), mark, min(frames, places), tokens)


def _load_language(llama: str, placed: dict[str, Any]) -> tuple[Any, Any, str]:
    """The LLaMA, its tokenizer, and a fingerprint of it."""
    with quiet():
        try:
            config, weights = transformers.LlamaConfig.from_pretrained(llama), find_weights(llama)
            language = load_whole("video_llm.llama", llama, transformers.LlamaForCausalLM, config, weights, placed)
            tokenizer = transformers.AutoTokenizer.from_pretrained(llama, trust_remote_code=False)
            return language, tokenizer, fingerprint(config.to_dict(), weights)
        except UserError:
            raise
        except Exception as error:  # transformers meets a damaged or foreign folder with whatever its readers raise
            raise UserError(f"video_llm.llama={llama}: {reason(error)}; {remedy(llama)}") from error


def _until(stop: str | None, pieces: Iterable[str]) -> Generator[str, None, None]:
    """The pieces up to `stop`, which may begin in one and end in another; None: all of them."""
    if stop is None:
        yield from pieces
        return
    held = ""
    for piece in pieces:
        held += piece
        if stop in held:
            held = held.partition(stop)[0]
            break
        begun = max(size for size in range(len(stop)) if held.endswith(stop[:size]))
        ready, held = held[: len(held) - begun], held[len(held) - begun :]
        if ready:
            yield ready
    if held:
        yield held
