"""Answers as a table and in Weights & Biases."""

import math
from typing import Any

import torch

from lightning_inr.report.answers import AnswerRow, AnswerSample, answers_table
from lightning_inr.report.wandb_report import log_answers

ROWS = [
    AnswerRow("true frames", 2, 0.0, 100.0, 100.0, 1.0, 1.0, 0.0, {"all": 50.0, "colour": 100.0}),
    AnswerRow("most common answer", 2, accuracy={"all": 25.0}),
]


def test_the_table_has_a_column_per_kind_and_a_dash_for_undefined_values() -> None:
    head, true, chance_level = answers_table(ROWS).splitlines()
    assert head.split()[-4:] == ["all", "%", "colour", "%"]
    assert true.split()[-2:] == ["50.0", "100.0"]
    assert chance_level.split()[-2:] == ["25.0", "-"]


def test_wandb_gets_numbers_and_samples() -> None:
    sent: dict[str, Any] = {}

    class WandbRun:
        def log(self, values: dict[str, Any]) -> None:
            sent.update(values)

    frames = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2
    log_answers(WandbRun(), ROWS, [AnswerSample("a", "What?", frames, {"true frames": "red", "truth": "Red"})])
    assert sent["answers/true frames/top-1 %"] == 100.0
    assert sent["answers/most common answer/accuracy %"] == 25.0
    assert not any(isinstance(value, float) and math.isnan(value) for value in sent.values())
    assert sent["samples"].columns == ["video", "frames", "question", "true frames", "truth"]
    assert sent["samples"].data[0][2:] == ["What?", "red", "Red"]
