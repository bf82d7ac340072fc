"""Retrieval protocols: queries and their positives (Latent-INR, section 4.4; CLIP4Clip for whole videos)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_inr.data.captioned.split import Segment
from lightning_inr.retrieval.gallery import Gallery
from lightning_inr.retrieval.scores import (
    Scores,
    clip4clip,
    first_positive_ranks,
    pool,
    ranks_of_positives,
    summarize_ranks,
    text_to_video,
    video_to_text,
)

Vectors = NDArray[np.float32]


class AnnotatedVideo(Protocol):
    """Annotations of a video, from a dataset or from a collection."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def captions(self) -> Sequence[str]: ...
    @property
    def segments(self) -> Sequence[Segment]: ...


class ProtocolResult(NamedTuple):
    """Queries of one protocol, their ranks and scores."""

    protocol: str
    queries: Sequence[str]
    ranks: NDArray[np.float64]  # one per query, from 1; NaN for a query without positives
    scores: Scores


class ProtocolOptions(NamedTuple):
    """Options of the protocols that the papers do not define; {} in a prompt is replaced by the query."""

    class_prompt: str = "{}"
    segment_prompt: str = "{}"
    caption_prompt: str = "{}"
    normalise_frames: bool = True  # before the mean over a video's frames
    clip4clip: bool = False  # count ties as CLIP4Clip's program does


def query_classes(
    videos: Sequence[AnnotatedVideo],
    gallery: Gallery,
    embed: Callable[[Sequence[str]], Vectors],
    options: ProtocolOptions,
) -> list[ProtocolResult]:
    """Query each distinct class; positives are the frames of videos of that class."""
    queries = sorted({video.label for video in videos if video.label})
    labels = np.array([video.label or "" for video in videos])[gallery.video]
    return _query_frames("class", queries, options.class_prompt, gallery, embed, (labels == query for query in queries))


def query_segments(
    videos: Sequence[AnnotatedVideo],
    gallery: Gallery,
    embed: Callable[[Sequence[str]], Vectors],
    options: ProtocolOptions,
) -> list[ProtocolResult]:
    """Query each distinct segment label; positives are all frames within such segments, both ends included."""
    queries = sorted({segment.label for video in videos for segment in video.segments})
    positives = (_in_segments(videos, gallery, query) for query in queries)
    return _query_frames("segment", queries, options.segment_prompt, gallery, embed, positives)


def query_videos(
    videos: Sequence[AnnotatedVideo],
    gallery: Gallery,
    embed: Callable[[Sequence[str]], Vectors],
    options: ProtocolOptions,
) -> list[ProtocolResult]:
    """Query each caption for its video, and each video for its captions; a video is the mean of its frames."""
    video_indices = np.unique(gallery.video)
    pooled = np.stack(
        [pool(gallery.vectors[gallery.video == index], options.normalise_frames) for index in video_indices]
    )
    pairs = [(caption, row) for row, index in enumerate(video_indices) for caption in videos[index].captions]
    if not pairs:
        return []
    captions, video_of_caption = [caption for caption, _ in pairs], np.array([row for _, row in pairs])
    similarity = embed([options.caption_prompt.replace("{}", caption) for caption in captions]) @ pooled.T
    video_ranks, caption_ranks = (
        text_to_video(similarity, video_of_caption),
        video_to_text(similarity, video_of_caption),
    )
    scores = (
        clip4clip(similarity, video_of_caption)
        if options.clip4clip
        else (summarize_ranks(video_ranks), summarize_ranks(caption_ranks))
    )
    return [
        ProtocolResult("text to video", captions, video_ranks, scores[0]),
        ProtocolResult("video to text", [videos[index].id for index in video_indices], caption_ranks, scores[1]),
    ]


PROTOCOLS = {"class": query_classes, "segment": query_segments, "video": query_videos}


def _query_frames(
    protocol: str,
    queries: Sequence[str],
    prompt: str,
    gallery: Gallery,
    embed: Callable[[Sequence[str]], Vectors],
    positives: Iterator[NDArray[np.bool_]],
) -> list[ProtocolResult]:
    if not queries:
        return []
    embedded = embed([prompt.replace("{}", query) for query in queries])
    if gallery.search is None:
        ranks = first_positive_ranks(embedded, gallery.vectors, positives)
    else:
        ranks = ranks_of_positives(gallery.search(embedded), positives)
    return [ProtocolResult(protocol, queries, ranks, summarize_ranks(ranks))]


def _in_segments(videos: Sequence[AnnotatedVideo], gallery: Gallery, label: str) -> NDArray[np.bool_]:
    """Whether each frame of the gallery lies in a segment with this label, (N,)."""
    inside = np.zeros(len(gallery.video), np.bool_)
    for index, video in enumerate(videos):
        spans = [segment for segment in video.segments if segment.label == label]
        first, end = np.searchsorted(gallery.video, (index, index + 1)) if spans else (0, 0)  # sorted by video
        seconds = gallery.seconds[first:end]
        for span in spans:
            inside[first:end] |= (span.start <= seconds) & (seconds <= span.end)
    return inside
