"""Answers from latents beside those from frames, as a table and as a picture of samples."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category

import matplotlib

matplotlib.use("Agg")  # before pyplot: no screen is needed

import matplotlib.pyplot as plt
import torch
from matplotlib.font_manager import FontProperties, findfont, get_font
from torch import Tensor

from lightning_inr.paths import writing

COLUMNS = ("KL", "top-1 %", "exact %", "cosine", "centred", "rel. MSE")
MOST_FRAMES = 6  # of a video, in the picture
LETTERS = 60  # of a line of text beside it


class Row(NamedTuple):
    """One way to tell the model of the videos; what cannot be said of it is nan."""

    method: str
    questions: int
    kl: float = math.nan  # nats a token of the teacher's answers, KL(teacher || this)
    top1: float = math.nan  # percent of those tokens where both would say the same
    exact: float = math.nan  # percent of answers that are the teacher's, token by token
    cosine: float = math.nan
    centred_cosine: float = math.nan
    relative_mse: float = math.nan
    accuracy: Mapping[str, float] = {}  # kind of question -> percent; where true answers are known

    @property
    def figures(self) -> list[float]:
        """What COLUMNS name."""
        return [*self[2:-1]]


class Sample(NamedTuple):
    """One question and its answers."""

    video: str
    question: str
    frames: Sequence[Tensor]  # (3, H, W) uint8
    answers: Mapping[str, str]  # method -> what was answered, the truth among them if it is known


def answers_table(rows: Sequence[Row]) -> str:
    """Every method, one a line, as text."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.accuracy))
    names = [*COLUMNS, *(f"{kind} %" for kind in kinds)]
    head = f"{'method':<26}" + "".join(f"{name:>12}" for name in names)
    lines = [
        f"{row.method:<26}"
        + "".join(f"{_short(value):>12}" for value in [*row.figures, *(row.accuracy.get(k, math.nan) for k in kinds)])
        for row in rows
    ]
    return "\n".join([head, *lines])


def draw_answers(samples: Sequence[Sample], target: Path, note: str = "") -> None:
    """A row a sample: some frames, the question, and each answer below it, as a PNG; `note` stands above all."""
    figure, axes = plt.subplots(
        len(samples), 2, figsize=(13, 2.6 * len(samples) + 0.4), squeeze=False, layout="constrained",
        width_ratios=(3, 2),
    )  # fmt: skip
    for (left, right), sample in zip(axes, samples, strict=True):
        left.imshow(strip(sample), interpolation="nearest")
        left.set_title(sample.video, fontsize=8)
        said = [
            f"Q: {sample.question}",
            *(f"{method}: {text or '(nothing)'}" for method, text in sample.answers.items()),
        ]
        lines = "\n".join(textwrap.fill(_drawable(line), LETTERS, max_lines=4) for line in said)
        right.text(0, 0.5, lines, va="center", fontsize=8, parse_math=False)
        for axis in (left, right):
            axis.set_axis_off()
    if note:
        figure.suptitle(note, fontsize=9)
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)


def strip(sample: Sample) -> Any:
    """Some of its frames side by side, (H, W, 3) uint8 in NumPy."""
    step = -(-len(sample.frames) // MOST_FRAMES)
    return torch.cat(list(sample.frames[::step]), dim=2).permute(1, 2, 0).numpy()


def _drawable(text: str) -> str:
    """With dots for what the font has no glyph for, which an untrained model says much of."""
    font = get_font(findfont(FontProperties()))
    return "".join(
        letter if font.get_char_index(ord(letter)) and category(letter)[0] not in "CM" else "·" for letter in text
    )


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
