"""Answers from latents and from frames, compared in a table and in an image of samples."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: needs no display

import matplotlib.pyplot as plt
import torch
from matplotlib.font_manager import FontProperties, findfont, get_font
from torch import Tensor

from lightning_inr.paths import writing

COLUMNS = ("KL", "top-1 %", "exact %", "cosine", "centred", "rel. MSE")
MOST_FRAMES = 6  # of a video, in the image
TEXT_WIDTH = 60  # characters per line of the text beside them


class AnswerRow(NamedTuple):
    """Figures of one source of visual tokens; nan for a figure that is not defined for it."""

    method: str
    questions: int
    kl: float = math.nan  # KL(teacher || this), nats per token of the teacher's answers
    top1: float = math.nan  # percent of those tokens for which both have the same argmax
    exact: float = math.nan  # percent of answers with the same tokens as the teacher's
    cosine: float = math.nan  # this and the next two: distances of the visual tokens (chat.scores)
    centred_cosine: float = math.nan
    relative_mse: float = math.nan
    accuracy: Mapping[str, float] = {}  # kind of question -> percent; empty without ground truth

    @property
    def figures(self) -> list[float]:
        """The values of COLUMNS, in their order."""
        return [*self[2:-1]]


class AnswerSample(NamedTuple):
    """One question and its answers."""

    video: str
    question: str
    frames: Sequence[Tensor]  # (3, H, W) uint8
    answers: Mapping[str, str]  # method -> answer; with the ground truth if there is one


def answers_table(rows: Sequence[AnswerRow]) -> str:
    """A text table with one line per method."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.accuracy))
    names = [*COLUMNS, *(f"{kind} %" for kind in kinds)]
    head = f"{'method':<26}" + "".join(f"{name:>12}" for name in names)
    lines = [
        f"{row.method:<26}"
        + "".join(f"{_short(value):>12}" for value in [*row.figures, *(row.accuracy.get(k, math.nan) for k in kinds)])
        for row in rows
    ]
    return "\n".join([head, *lines])


def draw_answers(samples: Sequence[AnswerSample], target: Path, note: str = "") -> None:
    """Write a PNG with one row per sample: frames, the question and each answer; `note` is its title."""
    figure, axes = plt.subplots(
        len(samples), 2, figsize=(13, 2.6 * len(samples) + 0.4), squeeze=False, layout="constrained",
        width_ratios=(3, 2),
    )  # fmt: skip
    for (left, right), sample in zip(axes, samples, strict=True):
        left.imshow(frame_strip(sample), interpolation="nearest")
        left.set_title(sample.video, fontsize=8)
        entries = [
            f"Q: {sample.question}",
            *(f"{method}: {text or '(nothing)'}" for method, text in sample.answers.items()),
        ]
        lines = "\n".join(textwrap.fill(_drawable(line), TEXT_WIDTH, max_lines=4) for line in entries)
        right.text(0, 0.5, lines, va="center", fontsize=8, parse_math=False)
        for axis in (left, right):
            axis.set_axis_off()
    if note:
        figure.suptitle(note, fontsize=9)
    with writing(target) as draft:
        figure.savefig(draft, dpi=110)
    plt.close(figure)


def frame_strip(sample: AnswerSample) -> Any:
    """At most MOST_FRAMES frames of the sample side by side, (H, W, 3) uint8 in NumPy."""
    step = -(-len(sample.frames) // MOST_FRAMES)
    return torch.cat(list(sample.frames[::step]), dim=2).permute(1, 2, 0).numpy()


def _drawable(text: str) -> str:
    """The text with dots for characters without a glyph, which an untrained model often generates."""
    font = get_font(findfont(FontProperties()))
    return "".join(
        letter if font.get_char_index(ord(letter)) and category(letter)[0] not in "CM" else "·" for letter in text
    )


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
