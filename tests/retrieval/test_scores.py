"""Ranks and scores of cases small enough to be counted by hand."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_inr.errors import UserError
from lightning_inr.retrieval.scores import (
    clip4clip,
    first_positive_ranks,
    pool,
    recall,
    summarize_ranks,
    text_to_video,
    video_to_text,
)

ONE_EACH = np.arange(3)


def test_one_caption_per_video_is_ranked_in_both_directions() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.5], [0.7, 0.6, 0.4]])
    assert text_to_video(similarity, ONE_EACH).tolist() == [1, 3, 3]
    assert video_to_text(similarity, ONE_EACH).tolist() == [1, 2, 2]


def test_a_tie_has_the_mean_of_its_ranks() -> None:
    similarity = np.array([[0.5, 0.5, 0.1], [0.9, 0.5, 0.5], [0.5, 0.5, 0.5]])
    assert text_to_video(similarity, ONE_EACH).tolist() == [1.5, 2.5, 2.0]


def test_the_best_caption_of_a_video_counts() -> None:
    similarity = np.array([[0.9, 0.2], [0.1, 0.8], [0.3, 0.7]])  # the middle caption is of the wrong video
    video_of_caption = np.array([0, 0, 1])
    assert text_to_video(similarity, video_of_caption).tolist() == [1, 2, 1]
    assert video_to_text(similarity, video_of_caption).tolist() == [1, 2]


def test_queries_without_a_positive_are_dropped_and_counted() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.5]])
    video_of_caption = np.array([0, -1])  # the second caption's video is not on disk, and two videos have no caption
    assert summarize_ranks(text_to_video(similarity, video_of_caption)) == (100, 100, 100, 1, 1, 1, 1)
    assert summarize_ranks(video_to_text(similarity, video_of_caption)) == (100, 100, 100, 1, 1, 1, 2)
    with pytest.raises(UserError, match="none of 2 queries"):
        summarize_ranks(text_to_video(similarity, np.array([-1, -1])))


@pytest.mark.parametrize("measure", [text_to_video, video_to_text, clip4clip])
def test_nan_similarities_are_refused(measure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    similarity = np.eye(3)
    similarity[1, 2] = np.nan
    with pytest.raises(UserError, match="not a number"):
        measure(similarity, ONE_EACH)


def test_the_summary_of_known_ranks() -> None:
    scores = summarize_ranks(np.array([1, 2, 5, 6, 10, 11, 1.5, np.nan]))
    assert scores.recall_1 == pytest.approx(100 * 2 / 7)  # a tie for the first place is a hit
    assert scores.recall_5 == pytest.approx(100 * 4 / 7)
    assert scores.recall_10 == pytest.approx(100 * 6 / 7)
    assert scores[3:] == (5, 36.5 / 7, 7, 1)
    assert summarize_ranks(np.array([1.0, 4.0])).median_rank == 2.5
    assert recall(np.array([1, 3, np.nan]), 2) == 50


def test_the_best_positive_frame_counts() -> None:
    gallery = np.array([[1, 0], [0.6, 0.8], [0, 1], [0.8, 0.6]])
    positives = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    ranks = first_positive_ranks(np.array([[1, 0], [0, 1], [1, 0]]), gallery, (row for row in positives))
    np.testing.assert_array_equal(ranks, [3, 4, np.nan])


def test_blocks_of_queries_do_not_change_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    queries, gallery = random.standard_normal((7, 4)), random.standard_normal((30, 4))
    positives = random.random((7, 30)) < 0.2
    whole = first_positive_ranks(queries, gallery, positives)
    monkeypatch.setattr("lightning_inr.retrieval.scores.BLOCK", 60)
    np.testing.assert_array_equal(first_positive_ranks(queries, gallery, positives), whole)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_ranks_are_the_mean_over_all_ways_to_break_ties(frames: list[tuple[int, bool]]) -> None:
    scores, positive = (np.array(column) for column in zip(*frames, strict=True))
    rank = first_positive_ranks(np.ones((1, 1)), scores[:, None].astype(float), [positive.astype(bool)])[0]
    firsts = []
    for order in itertools.permutations(range(len(frames))):
        found = [positive[each] for each in sorted(order, key=lambda each: -scores[each])]
        firsts.append(found.index(True) + 1 if any(found) else np.nan)
    assert rank == pytest.approx(np.mean(firsts), nan_ok=True)


def test_clip4clip_adds_a_rank_for_every_tied_position() -> None:
    for scores in clip4clip(np.ones((8, 8)), np.arange(8)):
        assert scores == (12.5, 62.5, 100, 4.5, 4.5, 64, 0)


def test_clip4clip_without_ties_agrees_with_ours() -> None:
    similarity = np.random.default_rng(0).permutation(49).reshape(7, 7) / 49
    ours = [summarize_ranks(rank(similarity, np.arange(7))) for rank in (text_to_video, video_to_text)]
    assert list(clip4clip(similarity, np.arange(7))) == ours


def test_clip4clip_takes_the_lower_median_of_several_captions() -> None:
    similarity = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
    to_video, to_text = clip4clip(similarity, np.array([0, 0, 1, 1, -1]))
    assert to_video == (50, 100, 100, 1, 1.5, 4, 1)
    assert to_text == (50, 100, 100, 1.5, 1.5, 2, 0)


def test_pooling_weights_frames_equally_by_default() -> None:
    frames = np.array([[4.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(pool(frames), [0.5**0.5, 0.5**0.5])
    np.testing.assert_allclose(pool(frames, normalise_frames=False), [0.8, 0.6])


@pytest.mark.parametrize("frames", [np.zeros((0, 2)), np.zeros((1, 2)), np.array([[1.0, 0], [-1, 0]]), [[np.inf, 0]]])
def test_zero_vectors_cannot_be_pooled(frames: np.ndarray | list[list[float]]) -> None:
    with pytest.raises(UserError, match="no direction"):
        pool(np.asarray(frames))
