"""Figures contain the given frames and values at their positions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_inr.report.figures import ComparedFrame, draw_comparison, draw_strip, draw_training
from lightning_inr.report.hits import HitImage, draw_neighbours
from lightning_inr.report.latents import draw_latents
from tests.pictures import places

BLUE = (31, 119, 180)  # of Matplotlib's first line
RIGHT, WRONG = (26, 150, 65), (215, 25, 28)
DARKEST, LIGHTEST = (68, 1, 84), (253, 231, 37)  # of viridis
GREEN, RED, GREY = (10, 200, 30), (210, 20, 40), (90, 91, 92)


def flat(colour: tuple[int, int, int]) -> Tensor:
    """(3, 12, 16) uint8 of one colour."""
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 12, 16)


def centre(path: Path, colour: tuple[int, int, int]) -> tuple[float, float]:
    """The centre of all pixels with this colour, which must be at least a hundredth of the picture."""
    found = places(path, colour)
    assert len(found) > 1000
    return float(found[:, 0].mean()), float(found[:, 1].mean())


def test_a_comparison_is_source_decoded_and_four_times_the_difference(tmp_path: Path) -> None:
    draw_comparison([ComparedFrame(3, flat((100, 60, 20)), flat((110, 40, 20)), 30.0)], tmp_path / "a.png")
    lefts = [centre(tmp_path / "a.png", colour)[0] for colour in ((100, 60, 20), (110, 40, 20), (40, 80, 0))]
    assert lefts == pytest.approx([1 / 6, 1 / 2, 5 / 6], abs=0.03)


def test_a_strip_has_a_row_for_each_guess_and_a_column_for_each_frame(tmp_path: Path) -> None:
    draw_strip(0, torch.stack([flat(GREEN), flat(RED)]), {"ours": torch.stack([flat(GREY)] * 2)}, tmp_path / "a.png")
    green, red, grey = (centre(tmp_path / "a.png", colour) for colour in (GREEN, RED, GREY))
    assert green[0] < 0.4 < grey[0] < 0.6 < red[0]
    assert green[1] == pytest.approx(red[1], abs=0.01)
    assert grey[1] > 0.5 > red[1]


def test_hits_are_beside_their_query_with_a_border_by_correctness(tmp_path: Path) -> None:
    hits = {
        "one": [HitImage("a", flat(GREEN), True), HitImage("b", flat(RED), False)],
        "two": [HitImage("c", flat(GREY))],
    }
    draw_neighbours(hits, tmp_path / "a.png")
    green, red, grey = (centre(tmp_path / "a.png", colour) for colour in (GREEN, RED, GREY))
    assert 1 / 3 < green[0] < 2 / 3 < red[0]
    assert 1 / 3 < grey[0] < 2 / 3
    assert green[1] < 0.5 < grey[1]
    for around, inner in ((RIGHT, green), (WRONG, red)):
        frame = places(tmp_path / "a.png", around)
        assert frame.min(0) == pytest.approx(2 * np.array(inner) - frame.max(0), abs=0.02)  # its middle is the frame's


def test_training_curves_follow_their_values(tmp_path: Path) -> None:
    draw_training([0, 1, 2, 3], [10, 20, 30, 40], [1, 0.1, 0.01, 0.001], tmp_path / "a.png")
    line = places(tmp_path / "a.png", BLUE)
    for side, rising in ((line[line[:, 0] < 0.5], True), (line[line[:, 0] > 0.5], False)):
        first, last = side[side[:, 0].argmin()], side[side[:, 0].argmax()]
        assert bool(first[1] > last[1]) is rising
        assert abs(first[1] - last[1]) > 0.5
        height = np.interp(side[:, 0], *np.stack([first, last], 1))  # both are straight on their axes
        assert np.abs(side[:, 1] - height).max() < 0.03


def test_latents_are_points_coloured_by_frame(tmp_path: Path) -> None:
    line = (np.arange(30)[:, None] * np.ones((1, 4))).astype(np.float32)
    draw_latents({"a": line, "b": line}, tmp_path / "a.png")
    for colour in (DARKEST, LIGHTEST):
        dots = places(tmp_path / "a.png", colour)
        dots = dots[(dots[:, 0] < 0.4) | ((dots[:, 0] > 0.5) & (dots[:, 0] < 0.9))]  # not the colour bars
        assert (dots[:, 0] < 0.4).sum() > 10
        assert (dots[:, 0] > 0.5).sum() > 10
