"""Distances between answers, and between sets of visual tokens."""

import math

import pytest
import torch

from lightning_inr.chat.scores import (
    accuracy,
    chance,
    compare_tokens,
    exact_match,
    normalised,
    token_kl,
    top1_agreement,
)


def test_kl_is_that_of_the_distributions_and_zero_for_the_same() -> None:
    teacher, ours = torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    shifted = ours.log() + 3.0  # logits have no zero of their own
    assert token_kl(teacher.log(), shifted).tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_agreement_is_per_token_and_a_match_is_of_all_tokens() -> None:
    teacher, ours = torch.eye(4)[[0, 1, 2, 3]], torch.eye(4)[[0, 1, 3, 3]]
    assert top1_agreement(teacher, ours) == 0.75
    assert exact_match(torch.tensor([1, 2]), torch.tensor([1, 2]))
    assert not exact_match(torch.tensor([1, 2]), torch.tensor([1, 2, 3]))
    assert math.isnan(top1_agreement(teacher[:0], ours[:0]))


def test_the_teachers_own_tokens_have_zero_distance() -> None:
    teacher = torch.randn(6, 8) + 5
    assert compare_tokens(teacher, teacher) == pytest.approx((1.0, 1.0, 0.0), abs=1e-5)


def test_the_mean_token_has_a_high_cosine_and_no_centred_cosine() -> None:
    teacher = torch.randn(6, 8) + 5
    near = compare_tokens(teacher.mean(0).expand(6, 8), teacher)
    assert near.cosine > 0.9
    assert near.centred_cosine == pytest.approx(0.0, abs=1e-3)
    assert near.relative_mse == pytest.approx(1.0)


def test_answers_are_compared_without_case_articles_and_punctuation() -> None:
    assert normalised(" The Red  ball. ") == "red ball"
    assert accuracy(["The red ball.", "two"], ["red ball", "three"]) == 0.5


def test_chance_is_the_most_common_answer_of_each_kind() -> None:
    truths = ["red", "Red", "blue", "left", "right"]
    assert chance(truths, ["colour"] * 3 + ["way"] * 2) == pytest.approx(3 / 5)
    assert math.isnan(chance([], []))
