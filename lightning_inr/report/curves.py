"""Rate-distortion curves of collected runs, and Bjøntegaard differences between them."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations
from statistics import fmean
from typing import NamedTuple

import bjontegaard

from lightning_inr.report.runs import Run, name_methods

METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
MEAN = "mean of all videos"


class Point(NamedTuple):
    """Rate and quality of one file, or their means over one file per video."""

    bpp: float  # bits per pixel
    quality: float  # in the metric's unit
    setting: str  # values of the RATE_OPTIONS that gave the point


class Curve(NamedTuple):
    """Points of one method on one video, or on the mean of all videos, by increasing rate."""

    method: str
    video: str
    points: list[Point]


class Difference(NamedTuple):
    """Bjøntegaard means between two curves; None if they do not overlap or have fewer than two points."""

    video: str
    anchor: str
    test: str
    rate: float | None  # BD-rate: percent of the anchor's rate that `test` needs in addition at equal quality
    quality: float | None  # gain of `test` at equal rate, in the metric's unit


def curves(runs: Sequence[Run], metric: str) -> list[Curve]:
    """A curve for each method and video, and the mean curve of each method with more than one video."""
    found: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for run, method in zip(runs, name_methods(runs), strict=True):
        if run.result.get(metric) is not None:
            point = Point(run.result["bpp"], run.result[metric], run.rate_setting)
            found[method, run.result["video"]].append(point)
    each = [Curve(method, video, sorted(points)) for (method, video), points in sorted(found.items())]
    return each + _means(each)


def _means(each: Sequence[Curve]) -> list[Curve]:
    """The mean curve of each method over its videos, at the settings that all of them have."""
    means: list[Curve] = []
    for method in dict.fromkeys(curve.method for curve in each):
        own = [curve for curve in each if curve.method == method]
        by_setting: dict[str, list[Point]] = defaultdict(list)
        for curve in own:
            for point in curve.points:
                by_setting[point.setting].append(point)
        points = [
            Point(fmean(point.bpp for point in points), fmean(point.quality for point in points), setting)
            for setting, points in by_setting.items()
            if len(points) == len(own)
        ]
        if len(own) > 1 and points:
            means.append(Curve(method, MEAN, sorted(points)))
    return means


def differences(each: Sequence[Curve]) -> list[Difference]:
    """Differences of all ordered pairs of curves of a video (Bjøntegaard, VCEG-M33; piecewise cubic interpolation)."""
    return [
        Difference(test.video, anchor.method, test.method, *_bjontegaard(anchor, test))
        for anchor, test in permutations(each, 2)
        if anchor.video == test.video
    ]


def _bjontegaard(anchor: Curve, test: Curve) -> tuple[float | None, float | None]:
    rising = [_rising(curve.points) for curve in (anchor, test)]
    if min(len(points) for points in rising) < 2:
        return None, None
    (rate_a, quality_a), (rate_b, quality_b) = [
        ([point.bpp for point in points], [point.quality for point in points]) for points in rising
    ]
    options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    rate = quality = None
    if max(quality_a[0], quality_b[0]) < min(quality_a[-1], quality_b[-1]):
        rate = float(bjontegaard.bd_rate(rate_a, quality_a, rate_b, quality_b, **options))
    if max(rate_a[0], rate_b[0]) < min(rate_a[-1], rate_b[-1]):
        quality = float(bjontegaard.bd_psnr(rate_a, quality_a, rate_b, quality_b, **options))
    return rate, quality


def _rising(points: Sequence[Point]) -> list[Point]:
    """Leave out points whose quality a point of lower rate reaches: the interpolation needs both axes to rise."""
    kept: list[Point] = []
    for point in sorted(points):
        if not kept or (point.bpp > kept[-1].bpp and point.quality > kept[-1].quality):
            kept.append(point)
    return kept


def best_tradeoffs(runs: Sequence[Run]) -> list[Run]:
    """The Pareto front of each video, by rising rate: runs whose PSNR no other run reaches at the same or less rate."""
    best: list[Run] = []
    ordered = sorted(runs, key=lambda run: (run.result["video"], run.result["bpp"], -run.result["psnr"]))
    for run in ordered:
        new_video = not best or best[-1].result["video"] != run.result["video"]
        if new_video or run.result["psnr"] > best[-1].result["psnr"]:
            best.append(run)
    return best
