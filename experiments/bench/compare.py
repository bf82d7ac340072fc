"""Bjøntegaard differences between models, each by the convex hull of its sizes and rate weights."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plan import Plan
from rows import Row

from lightning_inr.report.curves import Curve, Point, differences

METRICS = ("psnr", "ms_ssim", "vmaf")
REFERENCES = ("x265_veryslow", "vvenc_medium")
FAMILY = "best of the family"


class Comparison(NamedTuple):
    """A line of bjontegaard.csv; the names are its columns."""

    clip: str
    metric: str
    budget: int | None  # multiply-adds a pixel that the test's points may take, and those of fitted anchors; None: any
    anchor: str
    test: str
    rate_percent: float | None  # more bits than the anchor at the same quality; negative: fewer
    quality: float | None  # gain at the same rate, in the metric's unit
    overlap_percent: float | None  # of the anchor's range of quality that both curves have
    note: str  # why a figure is missing


def compare(rows: Sequence[Row], plan: Plan) -> list[Comparison]:
    """Each fitted model against each anchor, a clip, metric and budget at a time; what is not there is left out."""
    found = []
    for clip in dict.fromkeys(row.clip for row in rows):
        for metric in METRICS:
            for budget in (None, *plan.budgets):
                curves = all_curves([row for row in rows if row.clip == clip], metric, plan, budget)
                for test in plan.models:
                    for anchor in _anchors(test, plan):
                        if test in curves and anchor in curves:
                            found.append(_compare(curves[anchor], curves[test], metric, budget))
    return found


def all_curves(rows: Sequence[Row], metric: str, plan: Plan, budget: int | None = None) -> Mapping[str, Curve]:
    """Name -> curve of one clip's rows; fits as hulls, references as they are, the family's best as one more."""
    rows = [row for row in rows if getattr(row, metric) is not None]
    curves = {}
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        if model in plan.models:
            if points := hull(_points(_affordable(own, budget), metric)):
                curves[model] = Curve(model, rows[0].clip, points)
        else:
            curves[model] = Curve(model, rows[0].clip, sorted(_points(own, metric)))
    family = _affordable([row for row in rows if row.model in plan.family], budget)
    if len({row.model for row in family}) > 1:
        curves[FAMILY] = Curve(FAMILY, rows[0].clip, hull(_points(family, metric)))
    return curves


def hull(points: Iterable[Point]) -> list[Point]:
    """The upper convex hull over the logarithm of the rate, by rising rate and quality."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.bpp, -each.quality)):
        if kept and point.quality <= kept[-1].quality:
            continue
        while len(kept) > 1 and _slope(kept[-2], kept[-1]) <= _slope(kept[-2], point):
            kept.pop()
        kept.append(point)
    return kept


def _compare(anchor: Curve, test: Curve, metric: str, budget: int | None) -> Comparison:
    (found,) = (each for each in differences([anchor, test]) if each.anchor == anchor.method)
    low, high = (
        choose(choose_of(point.quality for point in curve.points) for curve in (anchor, test))
        for choose, choose_of in ((max, min), (min, max))
    )
    qualities = [point.quality for point in anchor.points]
    span = max(qualities) - min(qualities)
    overlap = 100 * max(0.0, high - low) / span if span else None
    values = (found.rate, found.quality, overlap)
    return Comparison(test.video, metric, budget, anchor.method, test.method, *values, _note(anchor, test, found.rate))


def _note(anchor: Curve, test: Curve, rate: float | None) -> str:
    if rate is not None:
        return ""
    if min(len(anchor.points), len(test.points)) < 2:
        return "one point is no curve"
    above = min(point.quality for point in test.points) > max(point.quality for point in anchor.points)
    return f"no common quality: all of {test.method} is {'above' if above else 'below'}"


def _anchors(test: str, plan: Plan) -> list[str]:
    own = [plan.default] if test == plan.ours else []
    return [anchor for anchor in ("nerv", FAMILY, *REFERENCES, *own) if anchor != test]


def _affordable(rows: Iterable[Row], budget: int | None) -> list[Row]:
    return [row for row in rows if budget is None or (row.macs_per_pixel or 0) <= budget]


def _points(rows: Iterable[Row], metric: str) -> list[Point]:
    return [Point(row.bpp, getattr(row, metric), f"{row.size} {row.rate_weight}") for row in rows]


def _slope(left: Point, right: Point) -> float:
    run = math.log(right.bpp) - math.log(left.bpp)
    return math.inf if run <= 0 else (right.quality - left.quality) / run
