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
    """A row of bjontegaard.csv; the fields are its columns."""

    clip: str
    metric: str
    budget: int | None  # multiply-adds a pixel that the test's points may take, and those of fitted anchors; None: any
    anchor: str
    test: str
    rate_percent: float | None  # more bits than the anchor at the same quality; negative: fewer
    quality: float | None  # gain at the same rate, in the metric's unit
    overlap_percent: float | None  # of the anchor's range of quality that both curves have
    at_best_percent: float | None  # more bits than the anchor at the anchor's best quality; a bound if `note` states it
    note: str  # why a figure is missing


def compare(rows: Sequence[Row], plan: Plan) -> list[Comparison]:
    """Compare each fitted model with each anchor, per clip, metric and budget; missing curves are left out."""
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
    """Name -> curve of one clip's rows: fits as hulls, references unchanged, and the best of the family."""
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
    values = (found.rate, found.quality, overlap, at_best(anchor.points, test.points))
    return Comparison(test.video, metric, budget, anchor.method, test.method, *values, _note(anchor, test, found.rate))


def _note(anchor: Curve, test: Curve, rate: float | None) -> str:
    if rate is not None:
        return ""
    if min(len(anchor.points), len(test.points)) < 2:
        lower = min(point.quality for point in test.points) > max(point.quality for point in anchor.points)
        return "one point is no curve" + ("; at_best_percent is an upper bound" if lower else "")
    above = min(point.quality for point in test.points) > max(point.quality for point in anchor.points)
    bound = "above, at_best_percent is an upper bound" if above else "below"
    return f"no common quality: all of {test.method} is {bound}"


def at_best(anchor: Sequence[Point], test: Sequence[Point]) -> float | None:
    """Percent of bits that the test needs in addition to reach the anchor's best quality.

    Linear over log rate between the test's points; its least file stands for what is below all of them, which can only
    cost less. None if the test is never as good.
    """
    best = max(anchor, key=lambda point: point.quality)
    enough = [number for number, point in enumerate(test) if point.quality >= best.quality]
    if not enough:
        return None
    rate = test[enough[0]].bpp
    if enough[0]:
        below, above = test[enough[0] - 1 : enough[0] + 1]
        share = (best.quality - below.quality) / (above.quality - below.quality)
        rate = below.bpp * (above.bpp / below.bpp) ** share
    return 100 * (rate / best.bpp - 1)


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
