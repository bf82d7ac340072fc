"""Projectors for latents that exist: one in a file, or one shared by all files that a teacher aligned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from lightning_inr.chat.fit import ProjectorFit, fit_file, fit_projector
from lightning_inr.chat.projector import (
    SharedProjector,
    describe_sampling,
    load_shared,
    same_form,
    save_shared,
    shared_latents,
)
from lightning_inr.chat.scores import Nearness, compare_tokens
from lightning_inr.codec import Codec, decode
from lightning_inr.data.captioned.split import DatasetSplit, open_captioned
from lightning_inr.data.sources.source import OpenSource
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.nn.projector import layout, projector_for
from lightning_inr.paths import read_bytes, write_bytes
from lightning_inr.pipelines.evaluation import check_same_video
from lightning_inr.retrieval.collection import open_original, read_manifest
from lightning_inr.retrieval.gallery import check_same_space, read_model
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.feature_cache import teacher_features, video_tokens
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import EmbeddingSpace, TokenSpace

Video = TypeVar("Video")


@dataclass(frozen=True)
class ShareOptions:
    """How a shared projector is trained, and tested; UserError for values that cannot be."""

    cache: Path  # folder of the teachers' features
    fit: ProjectorFit = field(default_factory=ProjectorFit)
    videos: int = 256  # at most so many: their tokens lie in memory all at once
    held_out: float = 0.2  # share of the videos that it is tested on and not trained on
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.held_out, float) or not 0 < self.held_out < 1:
            raise UserError(f"held_out={self.held_out}: choose a share between 0 and 1, as 0.2")
        if not isinstance(self.videos, int) or self.videos < 2:
            raise UserError(f"videos={self.videos}: choose a whole number from 2")


class ProjectorExample(NamedTuple):
    """What a projector reads of one video, and what it is trained to output."""

    name: str
    reads: EmbeddingSpace
    writes: TokenSpace
    latents: Tensor  # (N, S) of length 1
    tokens: Tensor  # (K, d)


@dataclass(frozen=True)
class FileOptions:
    """How a file's own projector is trained and coded."""

    cache: Path  # folder of the teachers' features
    codec: Codec
    fit: ProjectorFit = field(default_factory=ProjectorFit)
    seed: int = 0
    device: str = "auto"


def align_file(path: str, open_source: OpenSource, llm: VideoLLM, out: str, options: FileOptions) -> dict[str, Any]:
    """Write `out`, the file at `path` with a projector; what else is in it stays as it is, byte for byte."""
    data = read_bytes(path, "bitstream")
    model = decode(data, choose_device(options.device))
    source = open_source().trim_to_stride(model.video.stride)
    check_same_video(path, source, model.video)
    token_space = llm.token_space(model.video)
    target = video_tokens(source.read, llm, token_space, model.video, options.cache)
    aligned = fit_file(data, token_space, target, options.codec, options.fit, model.device, options.seed)
    write_bytes(out, aligned)
    with torch.inference_mode():
        tokens = decode(aligned).visual_tokens()
    return {
        "video_llm": llm.name,
        **compare_tokens(tokens, target)._asdict(),
        "bytes_before": len(data),
        "bytes": len(aligned),
    }


def share_projector(
    examples: Iterator[ProjectorExample], whose: str, llm: VideoLLM, out: str, options: ShareOptions
) -> dict[str, Any]:
    """Train one projector, write it to `out`, and test it on the held-out examples."""
    every = _alike(examples)
    if len(every) < 2:
        raise UserError(f"{whose}: {len(every)} videos to learn from; at least 2 are needed")
    Random(options.seed).shuffle(every)
    aside = min(len(every) - 1, max(1, round(options.held_out * len(every))))
    held_out, training = every[:aside], every[aside:]
    first = training[0]
    torch.manual_seed(options.seed)
    network = projector_for(first.reads.width, first.writes).to(choose_device(options.device))
    latents, tokens = [each.latents for each in training], [each.tokens for each in training]
    fit_projector(network, latents, tokens, options.fit, options.seed)
    save_shared(SharedProjector(network, first.reads, first.writes), out)
    written = load_shared(out)
    return {
        "video_llm": llm.name,
        "teacher": first.reads.teacher,
        "videos": len(training),
        **_nearness(written, training),
        "held_out": {"videos": len(held_out), **_nearness(written, held_out)},
        "floor": _mean_token(training, held_out),
        "bytes": Path(out).expanduser().stat().st_size,
    }


def examples_of_collection(folder: Path, llm: VideoLLM, options: ShareOptions) -> Iterator[ProjectorExample]:
    """The files of a collection that a teacher has aligned, and the videos that they were fitted to."""
    space: EmbeddingSpace | None = None
    for record in tqdm(_some(read_manifest(folder), options), "tokens", leave=False, unit="video"):
        model = read_model(folder / record.path)
        if model.embedding_space is None:
            continue
        space = space or model.embedding_space
        check_same_space(model.embedding_space, space, record.path, "the files before it")
        writes = llm.token_space(model.video)
        tokens = video_tokens(open_original(record).read, llm, writes, model.video, options.cache)
        with torch.no_grad():
            latents = shared_latents(model, writes.sampling)
        yield ProjectorExample(record.path, space, writes, latents, tokens)


def examples_of_dataset(
    split: DatasetSplit, clip: Clip, llm: VideoLLM, options: ShareOptions
) -> Iterator[ProjectorExample]:
    """The videos of a captioned dataset; the teacher's embeddings stand in for latents aligned to it."""
    for video in tqdm(_some(split.videos, options), "tokens", leave=False, unit="video"):
        source = open_captioned(video.id, split)
        writes = llm.token_space(source.shape)
        frames = source.shape.spread(writes.sampling.frames)
        latents = teacher_features(source.read, frames, clip, options.cache)
        tokens = video_tokens(source.read, llm, writes, source.shape, options.cache)
        yield ProjectorExample(video.id, clip.embedding_space, writes, latents, tokens)


def _some(videos: Sequence[Video], options: ShareOptions) -> list[Video]:
    """At most `videos` of them, by chance and in their order: their tokens lie in memory all at once."""
    places = Random(options.seed).sample(range(len(videos)), min(len(videos), options.videos))
    return [videos[place] for place in sorted(places)]


def _alike(examples: Iterator[ProjectorExample]) -> list[ProjectorExample]:
    """All of them; UserError, as soon as it comes, for one that is shown otherwise than the first."""
    found: list[ProjectorExample] = []
    for each in examples:
        found.append(each)
        if not same_form(found[0].writes, each.writes):
            raise UserError(
                f"{each.name}: it is shown as {describe_sampling(each.writes)}, "
                f"{found[0].name} as {describe_sampling(found[0].writes)}; "
                "share a projector among videos of one shape"
            )
    return found


def _nearness(shared: SharedProjector, examples: Sequence[ProjectorExample]) -> dict[str, float]:
    with torch.inference_mode():
        return _mean([compare_tokens(shared.network(example.latents), example.tokens) for example in examples])


def _mean_token(training: Sequence[ProjectorExample], held_out: Sequence[ProjectorExample]) -> dict[str, float]:
    """How near the mean tokens of the training videos, place by place, are to the held-out ones'; uses no latents."""
    slots = layout(training[0].writes).tokens
    mean = torch.cat([example.tokens.unflatten(0, (-1, slots)) for example in training]).mean(0)
    return _mean([compare_tokens(mean.repeat(len(each.tokens) // slots, 1), each.tokens) for each in held_out])


def _mean(each: Sequence[Nearness]) -> dict[str, float]:
    return {name: fmean(getattr(nearness, name) for nearness in each) for name in Nearness._fields}
