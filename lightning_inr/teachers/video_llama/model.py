"""Video-LLaMA as published (Zhang, Li and Bing, EMNLP 2023): a LLaMA with 32 visual tokens for a clip of any length."""

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
from lightning_inr.teachers.load_options import LoadOptions
from lightning_inr.teachers.video_llama.checkpoint import clip_shape, read_projection, read_published, read_tower
from lightning_inr.teachers.video_llama.prompt import STOPS, segments
from lightning_inr.teachers.video_llama.tower import SIDE, Tower, preprocess_frame
from lightning_inr.teachers.video_llm.interface import Message, Prompt, check_space
from lightning_inr.teachers.video_llm.loading import greedy, load_whole, placing, quiet, reason, remedy
from lightning_inr.teachers.video_llm.streaming import stream
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape


class VideoLlama:
    """A `VideoLLM` of a LLaMA, `llama_proj` that maps visual tokens to its embeddings, and optionally the vision tower.

    The visual tokens are the output of the video Q-Former, before `llama_proj`: 32 of 768 numbers in the published
    model.
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
        """Whether the ViT and both Q-Formers are loaded."""
        return self.vision is not None

    @cached_property
    def vision_fingerprint(self) -> str:
        """Fingerprint of the encoding of frames: weights, configuration and preprocessing."""
        vision = self._vision_tower()
        described: dict[str, Any] = {
            "vision": vision.vision_model.config.to_dict(),
            "qformer": vision.qformer.config.to_dict(),
        }
        described |= {"side": SIDE, "transformers": transformers.__version__}
        named = vision.state_dict().items()
        samples = ((name, tensor.flatten()[:: 1 + tensor.numel() // SAMPLE].cpu()) for name, tensor in named)
        return digest(described, samples)

    @property
    def untrained(self) -> bool:
        """Whether its weights are random, written by `write_small_video_llama`."""
        return bool(getattr(self.language.config, "untrained", False))

    @property
    def context(self) -> int:
        """Number of tokens in the LLaMA's context, the answer included."""
        return self.language.config.max_position_embeddings

    def token_space(self, video: VideoShape) -> TokenSpace:
        """The token space of `video`: at most `frames` frames of 224x224; the number of tokens is constant."""
        count = min(self.frames, video.frames)
        seconds = (video.frames - 1) / (count - 1) / video.fps if count > 1 else 1 / video.fps
        sampling = FrameSampling(count, SIDE, SIDE, seconds)
        return TokenSpace(self.name, self.fingerprint, self.tokens, 0, self.projection.in_features, sampling)

    def features(self, frames: Sequence[Tensor], space: TokenSpace) -> Tensor:
        """Encode frames (3, H, W) uint8 in temporal order: (32, 768) float32 on the CPU; UserError without tower."""
        vision = self._vision_tower()
        pixels = torch.stack([preprocess_frame(frame.cpu()) for frame in frames])
        with torch.no_grad():
            return vision(pixels.to(self.device)).cpu()

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Prompt:
        """The conversation in the published format; text before and after the video is tokenised separately, as there.

        UserError for a `space` whose tokens differ from this model's.
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
        """Logits (A, V) float32 of each id of `answer` (A,) after the prompt; differentiable in `tokens`."""
        read = self._read(prompt, tokens)
        words = self._words(answer[None, :-1])
        found = self.language(inputs_embeds=torch.cat([read, words], 1), logits_to_keep=len(answer), use_cache=False)
        return found.logits[0].float()

    @torch.inference_mode()
    def answer(self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128) -> Tensor:
        """Generate an answer greedily: ids (A,) on the CPU, with the end mark."""
        return self._search(prompt, tokens, max_new_tokens)()[0].cpu()

    def generate(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        """Generate an answer piece by piece; closing the iterator stops the generation."""
        search = self._search(prompt, tokens, max_new_tokens, **sampling)
        with closing(stream(search, self.tokenizer)) as pieces:
            yield from _until(STOPS[self.style], pieces)

    def read(self, ids: Tensor) -> str:
        """Decode ids as text, up to the stop string of the style."""
        return "".join(_until(STOPS[self.style], [self.tokenizer.decode(ids, skip_special_tokens=True)]))

    def _vision_tower(self) -> Tower:
        if self.vision is None:
            raise UserError(
                f"video_llm.load_vision=false: {self.name} has no vision tower here; set video_llm.load_vision=true"
            )
        return self.vision

    def _search(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int, **options: Any
    ) -> Callable[..., Tensor]:
        """A function that generates an answer; it returns the answer's ids alone, as the prompt is embedded."""
        read = self._read(prompt, tokens)
        mask = torch.ones(read.shape[:2], dtype=torch.long, device=read.device)
        config = deepcopy(self.generation)
        others = config.update(max_new_tokens=max_new_tokens, stop_strings=STOPS[self.style], **options)
        given = {"inputs_embeds": read, "attention_mask": mask, "generation_config": config}
        return partial(self.language.generate, **given, tokenizer=self.tokenizer, **others)

    def _read(self, prompt: Prompt, tokens: Tensor | None) -> Tensor:
        """Input embeddings of the language model, (1, L, hidden size): words, with the visual tokens at their place."""
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
    **options: Any,
) -> VideoLlama:
    """Load Video-LLaMA from a published checkpoint `weights`, and the `llama` and `blip2` that it was trained on.

    `weights` is a file, `llama` and `blip2` are hub ids or folders. The published checkpoints use the ViT-g and the
    Q-Former of BLIP-2 for FlanT5-XXL. `style` is the conversation format of the `llama`: llama_2 or vicuna. `options`
    are those of `LoadOptions`: its placement and precision apply to `llama` only; the vision tower is float32.
    UserError if a part is missing or does not fit the others.
    """
    if style not in STOPS:
        raise UserError(f"video_llm.style={style}: choose {', '.join(STOPS)}")
    load = LoadOptions(**options)
    placed = placing(load)
    published = read_published(weights)
    places, tokens, width = clip_shape(published, weights)
    if load.frames > places:
        warnings.warn(
            f"{weights} has positions for {places} frames, not {load.frames}: {places} are used", stacklevel=2
        )
    projection = read_projection(published, weights, width)
    language, tokenizer, mark = _load_language(os.path.expanduser(llama), placed)
    if language.config.hidden_size != projection.out_features:
        raise UserError(
            f"video_llm.llama={llama}: its embeddings have {language.config.hidden_size} numbers, but {weights} was "
            f"trained on one of {projection.out_features}; name that one"
        )
    vision = read_tower(published, weights, os.path.expanduser(blip2)) if load.load_vision else None
    mark = digest({"language": mark, "style": style}, projection.state_dict().items())
    return VideoLlama(
        language, tokenizer, projection, vision, style, str(weights), mark, min(load.frames, places), tokens
    )


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
        except Exception as error:  # transformers raises errors of many types for a damaged or foreign folder
            raise UserError(f"video_llm.llama={llama}: {reason(error)}; {remedy(llama)}") from error


def _until(stop: str | None, pieces: Iterable[str]) -> Generator[str, None, None]:
    """Yield the pieces up to `stop`, which may be split over several pieces; None: all pieces."""
    if stop is None:
        yield from pieces
        return
    pending = ""
    for piece in pieces:
        pending += piece
        if stop in pending:
            pending = pending.partition(stop)[0]
            break
        prefix_length = max(size for size in range(len(stop)) if pending.endswith(stop[:size]))
        ready, pending = pending[: len(pending) - prefix_length], pending[len(pending) - prefix_length :]
        if ready:
            yield ready
    if pending:
        yield pending
