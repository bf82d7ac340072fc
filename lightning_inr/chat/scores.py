"""Compares tokens and answers from latents with those of a video language model from the true frames."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr import losses

ARTICLES = re.compile(r"\b(a|an|the)\b")


class TokenDistances(NamedTuple):
    """Distances between the visual tokens of a file and the teacher's."""

    cosine: float  # mean over tokens, -1 to 1
    centred_cosine: float  # the same without the teacher's mean token
    relative_mse: float  # 1: as far as the teacher's mean token


def compare_tokens(ours: Tensor, teacher: Tensor) -> TokenDistances:
    """Visual tokens (K, d) of a file and of the teacher -> all three distances."""
    relative_mse = float(losses.relative_mse(ours.float(), teacher.float()))
    return TokenDistances(cosine(ours, teacher), centred_cosine(ours, teacher), relative_mse)


def token_kl(teacher: Tensor, ours: Tensor) -> Tensor:
    """Logits (A, V) of one answer, from the teacher and ours -> KL(teacher || ours) in nats per token, (A,)."""
    return F.kl_div(ours.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def top1_agreement(teacher: Tensor, ours: Tensor) -> float:
    """Logits (A, V) of one answer, from both -> the share of tokens with equal argmax; nan for an empty answer."""
    return float((teacher.argmax(-1) == ours.argmax(-1)).float().mean())


def exact_match(teacher: Tensor, ours: Tensor) -> bool:
    """Whether two answers (A,), (B,) have the same ids."""
    return torch.equal(teacher.cpu(), ours.cpu())


def cosine(ours: Tensor, teacher: Tensor) -> float:
    """Visual tokens (K, d) of both -> their cosine, mean over tokens; a token of length 0 has cosine 0."""
    return float(F.cosine_similarity(ours.float(), teacher.float(), dim=-1).mean())


def centred_cosine(ours: Tensor, teacher: Tensor) -> float:
    """Mean cosine after the teacher's mean token is subtracted from both, so that what all tokens share does not count.

    It is 0 if every token is that mean.
    """
    mean_token = teacher.float().mean(0)
    return cosine(ours.float() - mean_token, teacher.float() - mean_token)


def normalised(answer: str) -> str:
    """The answer in lower case without punctuation, articles and extra spaces, as in SQuAD (Rajpurkar et al., 2016)."""
    words = answer.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(ARTICLES.sub(" ", words).split())


def accuracy(answers: Sequence[str], truths: Sequence[str]) -> float:
    """The share of answers equal to the ground truth, both normalised; nan without answers."""
    correct = [normalised(answer) == normalised(truth) for answer, truth in zip(answers, truths, strict=True)]
    return sum(correct) / len(correct) if correct else float("nan")


def chance(truths: Sequence[str], kinds: Sequence[str]) -> float:
    """The accuracy of always answering with the most frequent ground truth of the question's kind; nan without any.

    It is the baseline of `accuracy`, as it needs no video.
    """
    counted: dict[str, Counter[str]] = {}
    for truth, kind in zip(truths, kinds, strict=True):
        counted.setdefault(kind, Counter())[normalised(truth)] += 1
    correct = sum(counts.most_common(1)[0][1] for counts in counted.values())
    return correct / len(truths) if truths else float("nan")
