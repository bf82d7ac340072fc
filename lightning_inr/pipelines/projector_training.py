"""Training of projectors on fitted latents: of one file, or shared by all files aligned to one teacher."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from lightning_inr.chat.fit import ProjectorFit, fit_file, fit_projector
from lightning_inr.chat.projector import (
    SharedProjector,
    describe_sampling,
    is_compatible,
    load_shared,
    save_shared,
    shared_latents,
)
from lightning_inr.chat.scores import TokenDistances, compare_tokens
from lightning_inr.codec import Codec, decode
from lightning_inr.data.captioned.split import DatasetSplit, open_captioned
from lightning_inr.data.sources.source import OpenSource
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.nn.projector import projector_for, token_layout
from lightning_inr.paths import read_bytes, write_bytes
from lightning_inr.pipelines.evaluation import check_same_video
from lightning_inr.progress import ProgressBar
from lightning_inr.retrieval.collection import Record, file_address, original
from lightning_inr.retrieval.gallery import check_same_space, read_model
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.feature_cache import teacher_features, video_tokens
from lightning_inr.teachers.video_llm.interface import VideoLLM
from lightning_inr.types import EmbeddingSpace, TokenSpace

Item = TypeVar("Item")


@dataclass(frozen=True)
class SharedProjectorOptions:
    """Options of training and testing a shared projector; UserError for values out of range."""

    cache: Path  # folder of the teachers' features
    fit: ProjectorFit = field(default_factory=ProjectorFit)
    videos: int = 256  # at most; the tokens of all of them are in memory together
    held_out: float = 0.2  # share of the videos that it is tested on and not trained on
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.held_out, float) or not 0 < self.held_out < 1:
            raise UserError(f"held_out={self.held_out}: choose a share between 0 and 1, as 0.2")
        if not isinstance(self.videos, int) or self.videos < 2:
            raise UserError(f"videos={self.videos}: choose a whole number from 2")


class ProjectorExample(NamedTuple):
    """The input of a projector for one video, and the tokens that it is trained to output."""

    name: str
    embedding_space: EmbeddingSpace
    token_space: TokenSpace
    latents: Tensor  # (N, S) of length 1
    tokens: Tensor  # (K, d)


@dataclass(frozen=True)
class FileProjectorOptions:
    """Options of training and coding the projector of one file."""

    cache: Path  # folder of the teachers' features
    codec: Codec
    fit: ProjectorFit = field(default_factory=ProjectorFit)
    seed: int = 0
    device: str = "auto"


def align_file(
    path: str, open_source: OpenSource, llm: VideoLLM, out: str, options: FileProjectorOptions
) -> dict[str, Any]:
    """Write `out`, the file at `path` with a projector; all its other bytes are kept."""
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
    examples: Iterator[ProjectorExample], origin: str, llm: VideoLLM, out: str, options: SharedProjectorOptions
) -> dict[str, Any]:
    """Train one projector, write it to `out`, and test it on the held-out examples."""
    collected = _check_all_compatible(examples)
    if len(collected) < 2:
        raise UserError(f"{origin}: {len(collected)} videos to train on; at least 2 are needed")
    Random(options.seed).shuffle(collected)
    count = min(len(collected) - 1, max(1, round(options.held_out * len(collected))))
    held_out, training = collected[:count], collected[count:]
    first = training[0]
    torch.manual_seed(options.seed)
    network = projector_for(first.embedding_space.width, first.token_space).to(choose_device(options.device))
    latents, tokens = [each.latents for each in training], [each.tokens for each in training]
    fit_projector(network, latents, tokens, options.fit, options.seed)
    save_shared(SharedProjector(network, first.embedding_space, first.token_space), out)
    written = load_shared(out)
    return {
        "video_llm": llm.name,
        "teacher": first.embedding_space.teacher,
        "videos": len(training),
        **_mean_distances(written, training),
        "held_out": {"videos": len(held_out), **_mean_distances(written, held_out)},
        "floor": _mean_token(training, held_out),
        "bytes": Path(out).expanduser().stat().st_size,
    }


def examples_of_collection(
    folder: str | Path, records: Sequence[Record], llm: VideoLLM, options: SharedProjectorOptions
) -> Iterator[ProjectorExample]:
    """Yield an example for each aligned file of a collection; tokens are those of the video it was fitted to."""
    space: EmbeddingSpace | None = None
    for record in ProgressBar(_sample_videos(records, options), "tokens", leave=False, unit="video"):
        model = read_model(file_address(folder, record.path))
        if model.embedding_space is None:
            continue
        space = space or model.embedding_space
        check_same_space(model.embedding_space, space, record.path, "the files before it")
        writes = llm.token_space(model.video)
        with original(record) as source:
            tokens = video_tokens(source.read, llm, writes, model.video, options.cache)
        with torch.no_grad():
            latents = shared_latents(model, writes.sampling)
        yield ProjectorExample(record.path, space, writes, latents, tokens)


def examples_of_dataset(
    split: DatasetSplit, clip: Clip, llm: VideoLLM, options: SharedProjectorOptions
) -> Iterator[ProjectorExample]:
    """Yield an example for each video of a captioned dataset, with teacher embeddings in place of latents."""
    for video in ProgressBar(_sample_videos(split.videos, options), "tokens", leave=False, unit="video"):
        source = open_captioned(video.id, split)
        writes = llm.token_space(source.shape)
        frames = source.shape.spread(writes.sampling.frames)
        latents = teacher_features(source.read, frames, clip, options.cache)
        tokens = video_tokens(source.read, llm, writes, source.shape, options.cache)
        yield ProjectorExample(video.id, clip.embedding_space, writes, latents, tokens)


def _sample_videos(videos: Sequence[Item], options: SharedProjectorOptions) -> list[Item]:
    """A random sample of at most `options.videos` of them, in their order."""
    indices = Random(options.seed).sample(range(len(videos)), min(len(videos), options.videos))
    return [videos[index] for index in sorted(indices)]


def _check_all_compatible(examples: Iterator[ProjectorExample]) -> list[ProjectorExample]:
    """All examples; UserError at the first whose token space is not compatible with that of the first example."""
    found: list[ProjectorExample] = []
    for each in examples:
        found.append(each)
        if not is_compatible(found[0].token_space, each.token_space):
            raise UserError(
                f"{each.name}: its sampling is {describe_sampling(each.token_space)}, "
                f"that of {found[0].name} is {describe_sampling(found[0].token_space)}; "
                "share a projector among videos of one frame size"
            )
    return found


def _mean_distances(shared: SharedProjector, examples: Sequence[ProjectorExample]) -> dict[str, float]:
    with torch.inference_mode():
        return _mean_of_fields(
            [compare_tokens(shared.network(example.latents), example.tokens) for example in examples]
        )


def _mean_token(training: Sequence[ProjectorExample], held_out: Sequence[ProjectorExample]) -> dict[str, float]:
    """Distances of the mean token of each slot over the training videos to the held-out tokens; uses no latents."""
    slots = token_layout(training[0].token_space).tokens
    mean = torch.cat([example.tokens.unflatten(0, (-1, slots)) for example in training]).mean(0)
    return _mean_of_fields(
        [compare_tokens(mean.repeat(len(each.tokens) // slots, 1), each.tokens) for each in held_out]
    )


def _mean_of_fields(each: Sequence[TokenDistances]) -> dict[str, float]:
    return {name: fmean(getattr(distances, name) for distances in each) for name in TokenDistances._fields}
