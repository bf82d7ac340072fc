"""The video language models of transformers as `VideoLLM`; visual tokens replace the output of the vision tower."""

import inspect
import warnings
from collections.abc import Generator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.video_utils import VideoMetadata

from lightning_inr.errors import UserError
from lightning_inr.teachers.checkpoint import SAMPLE, digest, find_weights, fingerprint
from lightning_inr.teachers.load_options import LoadOptions
from lightning_inr.teachers.video_llm.interface import Message, Prompt, check_space, sampled
from lightning_inr.teachers.video_llm.loading import greedy, load_whole, placing, quiet, reason, remedy
from lightning_inr.teachers.video_llm.streaming import stream
from lightning_inr.types import FrameSampling, TokenSpace, VideoShape

VIDEO_SHARE = 0.75  # of a model's context for visual tokens at most; the rest is for the conversation


class Family(NamedTuple):
    """Properties of the models of one architecture."""

    head: str  # its class in transformers
    vision_parts: tuple[str, ...]  # modules that only the encoding of frames needs
    any_size: bool = False  # whether frames keep their aspect ratio, as a grid of patches; then prompts have the times
    newline: bool = False  # whether a constant token follows the visual tokens
    spatial: bool = False  # whether visual tokens have positions in space and time, not in sequence


FAMILIES = {
    "llava_onevision": Family(
        "LlavaOnevisionForConditionalGeneration", ("vision_tower", "multi_modal_projector"), newline=True
    ),
    "video_llama_3": Family("VideoLlama3ForConditionalGeneration", ("vision_model", "projector"), any_size=True),
    "qwen2_5_vl": Family("Qwen2_5_VLForConditionalGeneration", ("visual",), any_size=True, spatial=True),
    "llava_next_video": Family(
        "LlavaNextVideoForConditionalGeneration", ("vision_tower", "vision_resampler", "multi_modal_projector")
    ),
    "video_llava": Family(
        "VideoLlavaForConditionalGeneration", ("video_tower", "image_tower", "multi_modal_projector")
    ),
}  # by the config's model_type


class TransformersLLM:
    """A `VideoLLM` of one of FAMILIES."""

    def __init__(self, model: Any, processor: Any, name: str, fingerprint: str, load: LoadOptions) -> None:
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        self.name, self.fingerprint, self.has_vision = name, fingerprint, load.load_vision
        self.frames, self.side = load.frames, load.side
        self.family = FAMILIES[model.config.model_type]
        self.device = model.get_input_embeddings().weight.device

    @property
    def context(self) -> int:
        """Number of tokens in the language model's context, the answer included."""
        return self.model.config.get_text_config().max_position_embeddings

    @property
    def untrained(self) -> bool:
        """Whether its config has `untrained`, as `write_small` writes it."""
        return bool(getattr(self.model.config, "untrained", False))

    @cached_property
    def vision_fingerprint(self) -> str:
        """Fingerprint of the encoding of frames: the vision tower's weights and precision, and the preprocessing."""
        self._check_vision()
        described = {
            "tower": self.model.config.vision_config.to_dict(),
            "preparation": self.processor.video_processor.to_dict(),
            "precision": str(self.model.dtype),
            "transformers": transformers.__version__,
        }
        parts = [getattr(self.model.base_model, part, None) for part in self.family.vision_parts]
        named = (each for part in parts if part is not None for each in part.state_dict().items())
        samples = ((name, tensor.flatten()[:: 1 + tensor.numel() // SAMPLE].cpu()) for name, tensor in named)
        return digest(described, samples)

    def token_space(self, video: VideoShape) -> TokenSpace:
        """The token space of `video`; warns if the context does not hold as many frames as requested."""
        wanted = min(self.frames, video.frames)
        height, width = self._size(video)
        most = self._most_frames(height, width)
        if wanted > most:
            warnings.warn(f"{self.name} reads at most {most} frames of this size, not {wanted}", stacklevel=2)
        step = self._frames_a_group
        frames = max(step, min(wanted, most) // step * step)
        seconds = (video.frames - 1) / (frames - 1) / video.fps if min(frames, video.frames) > 1 else 1 / video.fps
        sampling = FrameSampling(frames, height, width, seconds)
        width = self.model.config.get_text_config().hidden_size
        return TokenSpace(self.name, self.fingerprint, self._count(sampling), frames // step, width, sampling)

    def features(self, frames: Sequence[Tensor], space: TokenSpace) -> Tensor:
        """Encode the sampled frames (3, H, W) uint8 with the vision tower: visual tokens (K, d) float32 on the CPU."""
        self._check_vision()
        with torch.no_grad():
            found = self.model.base_model.get_video_features(**self._pixels(frames, space.sampling), return_dict=True)
        held = found.pooler_output  # of one video: a list or a tensor, with or without an axis of frames
        tokens = torch.cat([part.flatten(0, -2) for part in (held if isinstance(held, list | tuple) else [held])])
        tokens = tokens[:-1] if self.family.newline else tokens
        if tokens.shape != (space.tokens, space.width):
            raise UserError(
                f"video_llm.model={self.name}: its processor and its config disagree on the size of a frame: "
                f"{len(tokens)} tokens, not {space.tokens}; get the whole folder again"
            )
        return tokens.float().cpu()

    def _check_vision(self) -> None:
        if not self.has_vision:
            raise UserError(
                f"video_llm.load_vision=false: {self.name} has no vision tower here; set video_llm.load_vision=true"
            )

    def prompt(self, messages: Sequence[Message], space: TokenSpace | None) -> Prompt:
        """The conversation up to the start of the answer; UserError for a text that contains the mark of a video.

        UserError, too, for a `space` whose tokens differ from those this model gives for its frame sampling.
        """
        if space is not None:  # before memory is used for the number of frames in a file, which may be wrong
            step = self._frames_a_group
            tokens = space.sampling.frames // step * self._count(space.sampling._replace(frames=step))
            check_space(self.name, space, tokens, self.model.config.get_text_config().hidden_size)
        marks = self.processor.video_token, self.processor.image_token
        for message in messages:
            for mark in marks:
                if mark in message.text:
                    raise UserError(f"question={message.text!r}: {mark} means a picture to the model; leave it out")
        text = self.processor.apply_chat_template(self._conversation(messages, space), add_generation_prompt=True)
        if space is not None:
            if text.count(marks[0]) != 1:
                raise UserError(
                    f"video_llm.model={self.name}: its chat template has no place for a video; choose another"
                )
            text = text.replace(marks[0], self._placeholders(space.sampling))
        start = self.tokenizer.bos_token
        ids = self.tokenizer(
            text, return_tensors="pt", add_special_tokens=start is None or not text.startswith(start)
        ).input_ids
        if space is None or not self.family.spatial:
            return Prompt(ids, space.tokens if space else 0)
        places = {
            "video_grid_thw": self._grid(space.sampling),
            "second_per_grid_ts": torch.tensor([space.sampling.seconds * self._frames_a_group]),
        }
        return Prompt(ids, space.tokens, places)

    def logits(self, prompt: Prompt, tokens: Tensor | None, answer: Tensor) -> Tensor:
        """Logits (A, V) float32 of each id of `answer` (A,) after the prompt; differentiable in `tokens`."""
        ids = torch.cat([prompt.ids, answer[None].cpu()], dim=1)
        inputs = self._inputs(prompt, tokens, ids)
        hidden = self.model.base_model(**inputs, use_cache=False)[0]
        before = hidden[0, prompt.length - 1 : prompt.length - 1 + len(answer)]
        return self.model.lm_head(before).float()

    def answer(self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128) -> Tensor:
        """Generate an answer greedily: at most `max_new_tokens` ids (A,) on the CPU."""
        found = self._generate(prompt, tokens, max_new_tokens)
        return found[0, prompt.length :].cpu()

    def generate(
        self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int = 128, **sampling: Any
    ) -> Generator[str, None, None]:
        """Generate an answer piece by piece; closing the iterator stops the generation."""
        return stream(partial(self._generate, prompt, tokens, max_new_tokens, **sampling), self.tokenizer)

    def read(self, ids: Tensor) -> str:
        """Decode ids as text without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _generate(self, prompt: Prompt, tokens: Tensor | None, max_new_tokens: int, **options: Any) -> Tensor:
        inputs = self._inputs(prompt, tokens, prompt.ids)
        return self.model.generate(**inputs, max_new_tokens=max_new_tokens, **options)

    def _inputs(self, prompt: Prompt, tokens: Tensor | None, ids: Tensor) -> dict[str, Any]:
        """Arguments of `forward` and `generate`; created for each call, as transformers modifies them."""
        if (0 if tokens is None else len(tokens)) != prompt.tokens:
            raise ValueError(f"this prompt needs {prompt.tokens} tokens of a video")
        inputs: dict[str, Any] = {
            "input_ids": ids.to(self.device),
            "attention_mask": torch.ones_like(ids).to(self.device),
        }
        if tokens is None:
            return inputs
        inputs |= {key: value.to(self.device) for key, value in prompt.grids.items()}
        if self.family.spatial:
            inputs["mm_token_type_ids"] = 2 * (inputs["input_ids"] == self.model.config.video_token_id).int()
        video = tokens.to(self.device, self.model.dtype)
        if self.family.newline:
            video = torch.cat([video, self.model.base_model.image_newline[None].to(video)])
        held: Any = [video] if self.family.any_size else video[None]
        return inputs | {"mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=held)}}

    def _conversation(self, messages: Sequence[Message], space: TokenSpace | None) -> list[dict[str, Any]]:
        """The conversation for a chat template; the video and its frame times precede the user's first text."""
        turns: list[dict[str, Any]] = [
            {"role": message.role, "content": [{"type": "text", "text": message.text}]} for message in messages
        ]
        if space is not None:
            first = next(turn for turn in turns if turn["role"] == "user")["content"]
            if not self.family.any_size and _has_frame_times(self.model.config):
                first[0]["text"] = f"{sampled(space.sampling)} {first[0]['text']}"
            first.insert(0, {"type": "video"})
        return turns

    def _pixels(self, frames: Sequence[Tensor], sampling: FrameSampling) -> dict[str, Tensor]:
        """Inputs of the vision tower for the sampled frames."""
        pixels, options = torch.stack([frame.cpu() for frame in frames]), {}
        if self.family.any_size:  # otherwise the processor would choose another size
            pixels = interpolate(pixels, (sampling.height, sampling.width), mode="bicubic", antialias=True)
            options = {"do_resize": False}
        prepared = self.processor.video_processor([pixels], do_sample_frames=False, return_tensors="pt", **options)
        names = ("pixel_values_videos", "video_grid_thw", "video_merge_sizes")
        given = {key: prepared[key].to(self.device) for key in names if key in prepared}
        return given | {"pixel_values_videos": given["pixel_values_videos"].to(self.model.dtype)}

    @property
    def _frames_a_group(self) -> int:
        return getattr(self.processor.video_processor, "temporal_patch_size", 1)

    def _size(self, video: VideoShape) -> tuple[int, int]:
        """Height and width of a sampled frame in pixels."""
        if not self.family.any_size:
            side = self.model.config.vision_config.image_size
            return side, side
        patch = self.processor.video_processor.patch_size * self.processor.video_processor.merge_size
        scale = self.side / (video.height * video.width) ** 0.5 / patch
        return max(1, round(video.height * scale)) * patch, max(1, round(video.width * scale)) * patch

    def _most_frames(self, height: int, width: int) -> int:
        step = self._frames_a_group
        room = VIDEO_SHARE * self.context
        return max(1, int(room / self._count(FrameSampling(step, height, width, 1.0)))) * step

    def _count(self, sampling: FrameSampling) -> int:
        return self._placeholders(sampling).count(self.processor.video_token) - self.family.newline

    def _grid(self, sampling: FrameSampling) -> Tensor:
        """Steps in time, rows and columns of patches, (1, 3)."""
        patch = self.processor.video_processor.patch_size
        return torch.tensor(
            [[sampling.frames // self._frames_a_group, sampling.height // patch, sampling.width // patch]]
        )

    def _placeholders(self, sampling: FrameSampling) -> str:
        """The text with which the processor replaces a video of this frame sampling; it needs shapes and times only."""
        shape = (sampling.frames, 3, sampling.height, sampling.width)
        times = VideoMetadata(sampling.frames, 1 / sampling.seconds, frames_indices=list(range(sampling.frames)))
        inputs: dict[str, Any] = {
            "pixel_values_videos": [torch.zeros(1).expand(shape)],  # takes no memory
            "video_metadata": [times],
        }
        if self.family.any_size:
            grid, merge = self._grid(sampling), self.processor.video_processor.merge_size
            inputs["video_grid_thw"], inputs["video_merge_sizes"] = grid, torch.tensor([merge])
            inputs["video_compression_mask"] = torch.ones(int(grid.prod()) // merge**2, dtype=torch.bool)
        return self.processor.replace_video_token(inputs, 0)


def load_transformers_llm(model: str, load: LoadOptions) -> TransformersLLM:
    """Load a model; see `load_video_llm`."""
    placed = placing(load)
    with quiet():
        try:
            return _load(str(Path(model).expanduser()), load, placed)
        except UserError:
            raise
        except Exception as error:  # transformers raises errors of many types for a damaged or foreign folder
            raise UserError(f"video_llm.model={model}: {reason(error)}; {remedy(model)}") from error


def _load(model: str, load: LoadOptions, placed: Mapping[str, Any]) -> TransformersLLM:
    """Load a model; raises UserError, and errors of many types from transformers."""
    config = transformers.AutoConfig.from_pretrained(model, trust_remote_code=False)
    if config.model_type not in FAMILIES:
        raise UserError(
            f"video_llm.model={model}: {config.model_type} is no supported video language model; "
            f"choose one of {', '.join(FAMILIES)}"
        )
    weights = find_weights(model)
    loaded = load_whole(
        "video_llm.model", model, _head(FAMILIES[config.model_type], load.load_vision), config, weights, placed
    )
    loaded.generation_config = greedy(loaded)
    processor = transformers.AutoProcessor.from_pretrained(model, trust_remote_code=False)
    _configure_processor(model, processor)
    marks = [processor.video_token, processor.image_token]  # in an answer, they would require another video or image
    loaded.generation_config.suppress_tokens = processor.tokenizer.convert_tokens_to_ids(marks)
    mark = fingerprint(config.to_dict(), weights)
    return TransformersLLM(loaded, processor, model, mark, load)


def _has_frame_times(config: Any) -> bool:
    """Whether prompts state the times of the frames; `told_times` is the name in models saved before."""
    return bool(getattr(config, "frame_times", getattr(config, "told_times", True)))


def _head(family: Family, load_vision: bool) -> Any:
    """The class to load; without `load_vision` it deletes its vision tower while still empty, so no weight is read."""
    head: Any = getattr(transformers, family.head, None)
    takes = head is not None and "mm_encoder_outputs" in inspect.signature(head.forward).parameters
    if not takes or not hasattr(transformers.ProcessorMixin, "replace_video_token"):
        raise UserError(
            f"transformers {transformers.__version__} cannot take the tokens of a video; install transformers>=5.18"
        )
    if load_vision:
        return head

    def construct(self: Any, config: Any, *args: Any, **options: Any) -> None:
        head.__init__(self, config, *args, **options)
        for part in family.vision_parts:
            delattr(self.model, part)

    # Name and module of the original: transformers renames weights by both.
    return type(head.__name__, (head,), {"__init__": construct, "__module__": head.__module__})


def _configure_processor(model: str, processor: Any) -> None:
    """Set `processor` so that prompts do not depend on pixels; UserError if it has no chat template."""
    if not getattr(processor, "chat_template", None):
        raise UserError(f"video_llm.model={model}: no chat template there; add chat_template.jinja, or choose another")
    if hasattr(processor.video_processor, "use_token_compression"):
        processor.video_processor.use_token_compression = False
    if hasattr(processor.video_processor, "cap_pixels_per_frame"):
        processor.video_processor.cap_pixels_per_frame = False
