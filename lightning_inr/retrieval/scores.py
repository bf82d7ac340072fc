"""How well queries find what they mean: ranks, one a query, and what is published of them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_inr.errors import UserError

BLOCK = 1 << 25  # inner products held at a time: 128 MiB

Floats = npt.NDArray[np.floating]
Ranks = npt.NDArray[np.float64]  # from 1, the best; halves and the like where scores tie; NaN: nothing to be found
Owners = npt.NDArray[np.integer]


class Scores(NamedTuple):
    """What papers report of a set of queries."""

    recall_1: float  # percent of the queries
    recall_5: float
    recall_10: float
    median_rank: float  # from 1
    mean_rank: float
    queries: int  # that counted
    dropped: int  # for whom there was nothing to be found


def pool(frames: Floats, normalise_frames: bool = True) -> Floats:
    """One vector (S,) of length 1 for a video with these frames (N, S): meanP of CLIP4Clip (Luo et al. 2022).

    UserError for a video without frames, or one where they are zero, cancel out or are not finite.
    """
    return _unit((_unit(frames) if normalise_frames else frames).sum(0))


def text_to_video(similarity: Floats, owner: Owners) -> Ranks:
    """For every caption, the rank of its video: similarity (captions, videos), owner (captions,) a column or -1."""
    videos = np.arange(similarity.shape[1])
    return np.array([_rank(scores, videos == each) for scores, each in zip(similarity, owner, strict=True)])


def video_to_text(similarity: Floats, owner: Owners) -> Ranks:
    """For every video, the rank of its captions, the best of which speaks for all; others' captions likewise.

    Arguments as for `text_to_video`. Captions without a video are left out; a video without captions is dropped.
    """
    ranks = np.full(similarity.shape[1], np.nan)
    videos, groups = _best_of_each_owner(similarity, owner)
    ranks[videos] = [_rank(groups[:, video], videos == video) for video in videos]
    return ranks


def first_positive_ranks(queries: Floats, gallery: Floats, positives: Iterable[npt.NDArray[np.bool_]]) -> Ranks:
    """For every query (Q, S) the rank of the best of its positives among gallery (N, S), by inner product.

    `positives` gives one row (N,) a query, in order; they can be made one after another.
    """
    rows = zip(_similarity_rows(queries, gallery), positives, strict=True)
    return np.array([_rank(scores, row) for scores, row in rows])


def summarise(ranks: Ranks) -> Scores:
    """Recall, median and mean of ranks; a NaN is a query dropped. UserError if all are."""
    counted = ranks[~np.isnan(ranks)]
    dropped = len(ranks) - len(counted)
    if not len(counted):
        raise UserError(f"none of {len(ranks)} queries has anything to be found; check that captions and videos match")
    recalls = [recall(counted, k) for k in (1, 5, 10)]
    median, mean = float(np.median(counted)), float(counted.mean())
    return Scores(recalls[0], recalls[1], recalls[2], median, mean, len(counted), dropped)


def recall(ranks: Ranks, k: int) -> float:
    """Percent of the queries that have a positive among the first `k`; those that have none at all do not count."""
    counted = ranks[~np.isnan(ranks)]
    return 100 * float(np.mean(counted < k + 1))


def clip4clip(similarity: Floats, owner: Owners) -> tuple[Scores, Scores]:
    """Text to video and video to text exactly as CLIP4Clip's program counts, to compare with published tables.

    A tie there adds a sample for each place it spans. Where a video has several captions, text to video breaks ties
    by order instead, and takes the lower of two middle ranks for the median. NaN, which it drops, is refused here.
    """
    _check(similarity)
    videos, groups = _best_of_each_owner(similarity, owner)
    square, kept = groups[:, videos], owner >= 0
    to_text = summarise(_every_tied_place(square.T))._replace(dropped=similarity.shape[1] - len(videos))
    dropped = len(owner) - int(kept.sum())
    if len(videos) == kept.sum():
        return summarise(_every_tied_place(square))._replace(dropped=dropped), to_text
    order = np.argsort(-similarity[kept], axis=1, kind="stable")
    places = np.argsort(order, axis=1)[np.arange(len(order)), owner[kept]]
    ranks = 1 + places.astype(np.float64)
    lower_median = float(np.sort(ranks)[(len(ranks) - 1) // 2])
    return summarise(ranks)._replace(median_rank=lower_median, dropped=dropped), to_text


def _similarity_rows(queries: Floats, gallery: Floats) -> Iterator[Floats]:
    """The inner products of each query with all of the gallery, a few queries at a time."""
    step = max(1, BLOCK // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        yield from queries[start : start + step] @ gallery.T


def _rank(scores: Floats, positives: npt.NDArray[np.bool_]) -> float:
    """Rank of the best positive among scores (N,), NaN if there is none: what ties leave to chance is averaged.

    With p positives and n others at the best positive's score, the first positive comes n / (p + 1) places down on
    average; for one positive this is the usual (ties - 1) / 2.
    """
    _check(scores)
    if not positives.any():
        return np.nan
    best = scores[positives].max()
    tied = scores == best
    above, beside = np.count_nonzero(scores > best), np.count_nonzero(tied & ~positives)
    return 1 + above + beside / (np.count_nonzero(tied & positives) + 1)


def _best_of_each_owner(similarity: Floats, owner: Owners) -> tuple[Owners, Floats]:
    """The videos that have captions, and for each (row) the best of its captions against every video (column)."""
    kept = owner >= 0
    videos, group = np.unique(owner[kept], return_inverse=True)
    groups = np.full((len(videos), similarity.shape[1]), -np.inf, similarity.dtype)
    np.maximum.at(groups, group, similarity[kept])
    return videos, groups


def _every_tied_place(square: Floats) -> Ranks:
    """Of each row, every rank that the score on the diagonal could take."""
    gold = np.diagonal(square)[:, None]
    above, ties = (square > gold).sum(1), (square == gold).sum(1)
    places: Ranks = 1.0 + np.repeat(above, ties) + np.concatenate([np.arange(0), *map(np.arange, ties)])
    return places


def _check(scores: Floats) -> None:
    if np.isnan(scores).any():
        raise UserError("a similarity is not a number; check that no vector is zero or damaged")


def _unit(vectors: Floats) -> Floats:
    """Vectors (..., S) at length 1, or UserError where that cannot be."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise UserError("a vector is zero or not finite, it has no direction; leave out the file it comes from")
    return vectors / length
