"""Teach latents that exist to speak to a video language model: those of one file, or of all of a teacher's."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import TemporaryFile
from typing import Any, NamedTuple, TypeVar

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from lightning_inr.chat.fit import Fitting, fit_file, fit_projector
from lightning_inr.chat.projector import (
    SharedProjector,
    describe_sampling,
    load_shared,
    same_form,
    save_shared,
    shared_latents,
)
from lightning_inr.chat.scores import Nearness, compare_tokens
from lightning_inr.codec import decode
from lightning_inr.data.captioned import DatasetSplit, open_captioned
from lightning_inr.data.features import default_cache, teacher_features, video_tokens
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.nn.projector import layout, projector_for
from lightning_inr.paths import read_bytes, write_bytes
from lightning_inr.retrieval.collection import open_original, read_manifest
from lightning_inr.retrieval.gallery import check_same_space, read_model
from lightning_inr.tasks.evaluate import check_same_video
from lightning_inr.teachers.clip import Clip
from lightning_inr.teachers.video_llm import VideoLLM
from lightning_inr.types import EmbeddingSpace, TokenSpace

Video = TypeVar("Video")


class Lesson(NamedTuple):
    """A video from both sides."""

    name: str
    reads: EmbeddingSpace
    writes: TokenSpace
    latents: Tensor  # (N, S) of length 1
    tokens: Tensor  # (K, d)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Write `out`, a file with a projector in it or a shared projector, and print what it reaches as JSON."""
    if cfg.bitstream is not None and cfg.collection is not None:
        raise UserError("bitstream and collection: give one of bitstream=video.linr and collection=FOLDER")
    if cfg.video_llm is None:
        raise UserError("video_llm: nobody to speak to; add video_llm=llava_onevision")
    if cfg.projector is not None:
        raise UserError(f"projector={cfg.projector}: task=align makes one; leave it out and say where with out=…")
    fitting = Fitting(**cfg.align)
    _check_writable(Path(cfg.out).expanduser())
    figures = align_file(cfg, fitting) if cfg.bitstream is not None else share(cfg, fitting)
    print(json.dumps(figures, indent=2))
    return figures


def _check_writable(out: Path) -> None:
    """UserError now, and not after hours of looking at videos, if nothing can be written at `out`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror}); choose another place") from error


def align_file(cfg: DictConfig, fitting: Fitting) -> dict[str, Any]:
    """Give one file a projector of its own; what else is in it stays as it is, byte for byte."""
    data = read_bytes(cfg.bitstream, "bitstream")
    model = decode(data, choose_device(cfg.device))
    source = instantiate(cfg.dataset).trim_to_stride(model.video.stride)
    check_same_video(cfg.bitstream, source, model.video)
    llm: VideoLLM = instantiate(cfg.video_llm)
    space = llm.token_space(model.video)
    tokens = video_tokens(source.read, llm, space, model.video, _cache(cfg))
    talking = fit_file(data, space, tokens, instantiate(cfg.codec), fitting, model.device, cfg.seed)
    write_bytes(cfg.out, talking)
    with torch.inference_mode():
        said = decode(talking).tokens()
    return {
        "video_llm": llm.name,
        **compare_tokens(said, tokens)._asdict(),
        "bytes_before": len(data),
        "bytes": len(talking),
    }


def share(cfg: DictConfig, fitting: Fitting) -> dict[str, Any]:
    """One projector for all files that one teacher aligned, tested on videos that it has not seen."""
    if not isinstance(cfg.held_out, float) or not 0 < cfg.held_out < 1:
        raise UserError(f"held_out={cfg.held_out}: choose a share between 0 and 1, as 0.2")
    if not isinstance(cfg.videos, int) or cfg.videos < 2:
        raise UserError(f"videos={cfg.videos}: choose a whole number from 2")
    llm: VideoLLM = instantiate(cfg.video_llm)
    lessons = _alike(_of_collection(cfg, llm) if cfg.collection is not None else _of_dataset(cfg, llm))
    if len(lessons) < 2:
        raise UserError(f"{cfg.collection or 'dataset'}: {len(lessons)} videos to learn from; at least 2 are needed")
    Random(cfg.seed).shuffle(lessons)
    aside = min(len(lessons) - 1, max(1, round(cfg.held_out * len(lessons))))
    unseen, seen = lessons[:aside], lessons[aside:]
    first = seen[0]
    torch.manual_seed(cfg.seed)
    network = projector_for(first.reads.width, first.writes).to(choose_device(cfg.device))
    fit_projector(network, [each.latents for each in seen], [each.tokens for each in seen], fitting, cfg.seed)
    save_shared(SharedProjector(network, first.reads, first.writes), cfg.out)
    kept = load_shared(cfg.out)
    return {
        "video_llm": llm.name,
        "teacher": first.reads.teacher,
        "videos": len(seen),
        **_nearness(kept, seen),
        "held_out": {"videos": len(unseen), **_nearness(kept, unseen)},
        "floor": _mean_token(seen, unseen),
        "bytes": Path(cfg.out).expanduser().stat().st_size,
    }


def _of_collection(cfg: DictConfig, llm: VideoLLM) -> Iterator[Lesson]:
    """The files of a collection that a teacher has aligned, and the videos that they were made from."""
    folder, space = Path(cfg.collection), None
    for record in tqdm(_some(cfg, read_manifest(folder)), "tokens", leave=False, unit="video"):
        model = read_model(folder / record.path)
        if model.embedding_space is None:
            continue
        space = space or model.embedding_space
        check_same_space(model.embedding_space, space, record.path, "the files before it")
        writes = llm.token_space(model.video)
        tokens = video_tokens(open_original(record).read, llm, writes, model.video, _cache(cfg))
        with torch.no_grad():
            latents = shared_latents(model, writes.sampling)
        yield Lesson(record.path, space, writes, latents, tokens)


def _of_dataset(cfg: DictConfig, llm: VideoLLM) -> Iterator[Lesson]:
    """The videos of a captioned dataset; a teacher's view of their frames stands in for latents aligned to it."""
    if "listing" not in cfg.dataset or cfg.teacher is None:
        raise UserError(
            "align: nothing to learn from; give one of bitstream=video.linr, collection=FOLDER, and a captioned "
            "dataset with a teacher, as dataset=shapes dataset.listing.split=train teacher=shapes"
        )
    clip: Clip = instantiate(cfg.teacher)
    listing: DatasetSplit = instantiate(cfg.dataset.listing)
    for video in tqdm(_some(cfg, listing.videos), "tokens", leave=False, unit="video"):
        source = open_captioned(video.id, listing)
        writes = llm.token_space(source.shape)
        seen = source.shape.spread(writes.sampling.frames)
        latents = teacher_features(source.read, seen, clip, _cache(cfg))
        tokens = video_tokens(source.read, llm, writes, source.shape, _cache(cfg))
        yield Lesson(video.id, clip.embedding_space, writes, latents, tokens)


def _some(cfg: DictConfig, videos: Sequence[Video]) -> list[Video]:
    """At most `videos` of them, by chance and in their order: their tokens lie in memory all at once."""
    places = Random(cfg.seed).sample(range(len(videos)), min(len(videos), cfg.videos))
    return [videos[place] for place in sorted(places)]


def _alike(lessons: Iterator[Lesson]) -> list[Lesson]:
    """All of them; UserError, as soon as it comes, for one that is shown otherwise than the first."""
    found: list[Lesson] = []
    for each in lessons:
        found.append(each)
        if not same_form(found[0].writes, each.writes):
            raise UserError(
                f"{each.name}: it is shown as {describe_sampling(each.writes)}, "
                f"{found[0].name} as {describe_sampling(found[0].writes)}; "
                "share a projector among videos of one shape"
            )
    return found


def _nearness(shared: SharedProjector, lessons: Sequence[Lesson]) -> dict[str, float]:
    with torch.inference_mode():
        return _mean([compare_tokens(shared.network(lesson.latents), lesson.tokens) for lesson in lessons])


def _mean_token(seen: Sequence[Lesson], unseen: Sequence[Lesson]) -> dict[str, float]:
    """How near the mean tokens of the seen videos, place by place, come to the unseen ones': no latents needed."""
    slots = layout(seen[0].writes).tokens
    mean = torch.cat([lesson.tokens.unflatten(0, (-1, slots)) for lesson in seen]).mean(0)
    return _mean([compare_tokens(mean.repeat(len(each.tokens) // slots, 1), each.tokens) for each in unseen])


def _mean(each: Sequence[Nearness]) -> dict[str, float]:
    return {name: fmean(getattr(nearness, name) for nearness in each) for name in Nearness._fields}


def _cache(cfg: DictConfig) -> Path:
    return Path(cfg.feature_cache or default_cache())
