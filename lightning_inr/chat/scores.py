"""How near answers from latents come to a teacher's own on the true frames: pure functions."""

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


class Nearness(NamedTuple):
    """How near a file's tokens are to the teacher's."""

    cosine: float
    centred_cosine: float
    relative_mse: float


def compare_tokens(ours: Tensor, teacher: Tensor) -> Nearness:
    """Tokens (K, d), twice -> all three measures."""
    return Nearness(cosine(ours, teacher), centred_cosine(ours, teacher), relative_mse(ours, teacher))


def token_kl(teacher: Tensor, ours: Tensor) -> Tensor:
    """Logits (A, V), twice, of one answer -> KL(teacher || ours) in nats at each of its tokens, (A,)."""
    return F.kl_div(ours.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def top1_agreement(teacher: Tensor, ours: Tensor) -> float:
    """Logits (A, V), twice, of one answer -> the share of its tokens where both would say the same; nan without any."""
    return float((teacher.argmax(-1) == ours.argmax(-1)).float().mean())


def exact_match(teacher: Tensor, ours: Tensor) -> bool:
    """Whether two answers (A,), (B,) are the same ids."""
    return torch.equal(teacher.cpu(), ours.cpu())


def cosine(ours: Tensor, teacher: Tensor) -> float:
    """Tokens (K, d), twice -> the mean over tokens of their cosine; a token of length 0 has cosine 0."""
    return float(F.cosine_similarity(ours.float(), teacher.float(), dim=-1).mean())


def centred_cosine(ours: Tensor, teacher: Tensor) -> float:
    """The same once the mean of the teacher's tokens is taken from both: what is common to all of them counts no more.

    Saying that mean everywhere gives 0.
    """
    middle = teacher.float().mean(0)
    return cosine(ours.float() - middle, teacher.float() - middle)


def relative_mse(ours: Tensor, teacher: Tensor) -> float:
    """Tokens (K, d), twice -> squared error over the teacher's spread around its mean token: saying that gives 1."""
    return float(losses.relative_mse(ours.float(), teacher.float()))


def normalised(answer: str) -> str:
    """Lower case, without punctuation, articles or doubled spaces, as SQuAD compares (Rajpurkar et al., 2016)."""
    bare = answer.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(ARTICLES.sub(" ", bare).split())


def accuracy(answers: Sequence[str], truths: Sequence[str]) -> float:
    """The share of answers that are true, both normalised; nan without any."""
    right = [normalised(answer) == normalised(truth) for answer, truth in zip(answers, truths, strict=True)]
    return sum(right) / len(right) if right else float("nan")


def chance(truths: Sequence[str], kinds: Sequence[str]) -> float:
    """The accuracy of who knows the true answers' frequencies and always says the kind's most common; nan without any.

    No video needs to be seen for it: what an answer is worth is what it has above.
    """
    said: dict[str, Counter[str]] = {}
    for truth, kind in zip(truths, kinds, strict=True):
        said.setdefault(kind, Counter())[normalised(truth)] += 1
    right = sum(counts.most_common(1)[0][1] for counts in said.values())
    return right / len(truths) if truths else float("nan")
