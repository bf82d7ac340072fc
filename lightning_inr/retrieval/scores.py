"""Ranks of retrieval queries, and the scores that papers report of them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_inr.errors import UserError

BLOCK = 1 << 25  # inner products computed at a time: 128 MiB

Floats = npt.NDArray[np.floating]
Ranks = npt.NDArray[np.float64]  # from 1, the best; fractions where scores tie; NaN: no positives
VideoIndices = npt.NDArray[np.integer]


class Scores(NamedTuple):
    """Scores of a set of queries, as papers report them."""

    recall_1: float  # percent of the queries
    recall_5: float  # percent
    recall_10: float  # percent
    median_rank: float  # from 1
    mean_rank: float
    queries: int  # with positives
    dropped: int  # queries without positives


def pool(frames: Floats, normalise_frames: bool = True) -> Floats:
    """One vector (S,) of length 1 for a video with frame embeddings (N, S): meanP of CLIP4Clip (Luo et al. 2022).

    UserError if there are no frames, or if a vector or the mean is zero or not finite.
    """
    return _unit((_unit(frames) if normalise_frames else frames).sum(0))


def text_to_video(similarity: Floats, video_of_caption: VideoIndices) -> Ranks:
    """The rank of each caption's video, from similarity (captions, videos); `video_of_caption`: its column, or -1."""
    videos = np.arange(similarity.shape[1])
    return np.array([_rank(scores, videos == each) for scores, each in zip(similarity, video_of_caption, strict=True)])


def video_to_text(similarity: Floats, video_of_caption: VideoIndices) -> Ranks:
    """The rank of each video's captions among those of all videos, with the best caption of each video.

    Arguments as for `text_to_video`. Captions without a video are left out; the rank of a video without captions is
    NaN.
    """
    ranks = np.full(similarity.shape[1], np.nan)
    videos, groups = _best_score_per_video(similarity, video_of_caption)
    ranks[videos] = [_rank(groups[:, video], videos == video) for video in videos]
    return ranks


def first_positive_ranks(queries: Floats, gallery: Floats, positives: Iterable[npt.NDArray[np.bool_]]) -> Ranks:
    """The rank of the best positive of each query (Q, S) in the gallery (N, S), by inner product.

    `positives` has one row (N,) for each query, in order; an iterator needs memory for one row only.
    """
    return ranks_of_positives(_similarity_rows(queries, gallery), positives)


def ranks_of_positives(scores: Iterable[Floats], positives: Iterable[npt.NDArray[np.bool_]]) -> Ranks:
    """The rank of the best positive of each query, from the scores (N,) of each; -inf where a search found nothing."""
    return np.array([_rank(row, positive) for row, positive in zip(scores, positives, strict=True)])


def summarize_ranks(ranks: Ranks) -> Scores:
    """Recall, median and mean of ranks; NaN counts as dropped, UserError if all ranks are NaN."""
    counted = ranks[~np.isnan(ranks)]
    dropped = len(ranks) - len(counted)
    if not len(counted):
        raise UserError(f"none of {len(ranks)} queries has a positive; check that captions and videos match")
    recalls = [recall(counted, k) for k in (1, 5, 10)]
    median, mean = float(np.median(counted)), float(counted.mean())
    return Scores(recalls[0], recalls[1], recalls[2], median, mean, len(counted), dropped)


def recall(ranks: Ranks, k: int) -> float:
    """Percent of the queries with a positive among the first `k`; queries without positives do not count."""
    counted = ranks[~np.isnan(ranks)]
    return 100 * float(np.mean(counted < k + 1))


def clip4clip(similarity: Floats, video_of_caption: VideoIndices) -> tuple[Scores, Scores]:
    """Text-to-video and video-to-text scores exactly as by CLIP4Clip's program, to compare with published tables.

    In that program a tie adds one rank for each position that it spans. If a video has several captions, text to video
    breaks ties by order instead, and its median is the lower of the two middle ranks. The program drops NaN
    similarities; here they raise UserError.
    """
    _check(similarity)
    videos, groups = _best_score_per_video(similarity, video_of_caption)
    square, has_video = groups[:, videos], video_of_caption >= 0
    to_text = summarize_ranks(_all_tied_ranks(square.T))._replace(dropped=similarity.shape[1] - len(videos))
    dropped = len(video_of_caption) - int(has_video.sum())
    if len(videos) == has_video.sum():
        return summarize_ranks(_all_tied_ranks(square))._replace(dropped=dropped), to_text
    order = np.argsort(-similarity[has_video], axis=1, kind="stable")
    ranks_from_zero = np.argsort(order, axis=1)[np.arange(len(order)), video_of_caption[has_video]]
    ranks = 1 + ranks_from_zero.astype(np.float64)
    lower_median = float(np.sort(ranks)[(len(ranks) - 1) // 2])
    return summarize_ranks(ranks)._replace(median_rank=lower_median, dropped=dropped), to_text


def _similarity_rows(queries: Floats, gallery: Floats) -> Iterator[Floats]:
    """Yield the inner products of each query with the gallery, computed for several queries at a time."""
    step = max(1, BLOCK // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        yield from queries[start : start + step] @ gallery.T


def _rank(scores: Floats, positives: npt.NDArray[np.bool_]) -> float:
    """Expected rank of the best positive among scores (N,) over random orders of ties; NaN without a positive.

    With p positives and n others at the best positive's score, n / (p + 1) of the others precede the first positive on
    average; for one positive this is the usual (ties - 1) / 2.
    """
    _check(scores)
    if not positives.any():
        return np.nan
    best = scores[positives].max()
    tied = scores == best
    above, beside = np.count_nonzero(scores > best), np.count_nonzero(tied & ~positives)
    return 1 + above + beside / (np.count_nonzero(tied & positives) + 1)


def _best_score_per_video(similarity: Floats, video_of_caption: VideoIndices) -> tuple[VideoIndices, Floats]:
    """The videos with captions, and the best score of each one's captions (row) with every video (column)."""
    has_video = video_of_caption >= 0
    videos, group = np.unique(video_of_caption[has_video], return_inverse=True)
    groups = np.full((len(videos), similarity.shape[1]), -np.inf, similarity.dtype)
    np.maximum.at(groups, group, similarity[has_video])
    return videos, groups


def _all_tied_ranks(square: Floats) -> Ranks:
    """All ranks that the score on the diagonal of each row can have, given its ties."""
    true_score = np.diagonal(square)[:, None]
    above, ties = (square > true_score).sum(1), (square == true_score).sum(1)
    ranks: Ranks = 1.0 + np.repeat(above, ties) + np.concatenate([np.arange(0), *map(np.arange, ties)])
    return ranks


def _check(scores: Floats) -> None:
    if np.isnan(scores).any():
        raise UserError("a similarity is not a number; check that no vector is zero or not finite")


def _unit(vectors: Floats) -> Floats:
    """Normalise vectors (..., S) to length 1; UserError if one is zero or not finite."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise UserError("a vector is zero or not finite and has no direction; leave out the file it comes from")
    return vectors / length
