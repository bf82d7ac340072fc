"""Curves, differences and pages from result.json files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lightning_inr.paths import FAILED
from lightning_inr.report.charts import draw_curves
from lightning_inr.report.curves import MEAN, Curve, Point, best_tradeoffs, curves, differences
from lightning_inr.report.latents import measure_smoothness
from lightning_inr.report.page import write_page
from lightning_inr.report.runs import find_runs, name_methods
from tests.conftest import write_result


def write_sweep(folder: Path) -> None:
    """Results of two methods at three ranks on two videos; the second has twice the rate of the first."""
    for video in ("Beauty", "Jockey"):
        for rank in (50, 100, 200):
            for model, cost in (("latent_inr", 1.0), ("nerv", 2.0)):
                overrides = [f"rank={rank}", f"dataset.sequence={video}", f"model={model}", "dataset=uvg"]
                psnr = 30 + rank / 50 + (video == "Jockey")
                write_result(folder / f"{model}{rank}{video}", model=model, video=video, bpp=cost * rank / 1000,
                             psnr=psnr, overrides=overrides, rank=rank)  # fmt: skip


def test_a_curve_per_video_and_their_mean(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    runs, missing = find_runs([tmp_path])
    assert (len(runs), missing) == (12, [])
    found = {(curve.method, curve.video): curve for curve in curves(runs, "psnr")}
    assert set(found) == {(m, v) for m in ("latent_inr", "nerv") for v in ("Beauty", "Jockey", MEAN)}
    assert [point.bpp for point in found["nerv", "Beauty"].points] == [0.1, 0.2, 0.4]
    assert [point.quality for point in found["latent_inr", MEAN].points] == [31.5, 32.5, 34.5]
    assert curves(runs, "ms_ssim") == []


def test_twice_the_rate_is_a_difference_of_100_percent(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    between = differences(curves(find_runs([tmp_path])[0], "psnr"))
    found = {(each.video, each.anchor, each.test): each for each in between}
    assert found["Beauty", "latent_inr", "nerv"].rate == pytest.approx(100, abs=0.1)
    assert found[MEAN, "nerv", "latent_inr"].rate == pytest.approx(-50, abs=0.1)
    gained = found["Jockey", "nerv", "latent_inr"].quality
    assert gained is not None
    assert gained > 0.5


def test_best_tradeoffs_are_those_that_no_other_run_of_the_video_reaches(tmp_path: Path) -> None:
    for name, video, bpp, psnr in (
        ("a", "cup", 0.1, 30.0), ("b", "cup", 0.2, 29.0), ("c", "cup", 0.3, 33.0), ("d", "cup", 0.3, 32.0),
        ("e", "box", 0.5, 20.0),
    ):  # fmt: skip
        write_result(tmp_path / name, video=video, bpp=bpp, psnr=psnr)
    assert [run.folder.name for run in best_tradeoffs(find_runs([tmp_path])[0])] == ["e", "a", "c"]


def test_curves_that_do_not_overlap_have_no_difference() -> None:
    low = Curve("low", "v", [Point(0.1, 20.0, "a"), Point(0.2, 21.0, "b")])
    high = Curve("high", "v", [Point(0.5, 30.0, "a"), Point(0.9, 31.0, "b")])
    lonely = Curve("lonely", "v", [Point(0.15, 20.5, "a")])
    assert all(each.rate is None and each.quality is None for each in differences([low, high, lonely]))


def test_points_below_a_cheaper_one_are_left_out() -> None:
    plain = Curve("plain", "v", [Point(0.1, 20.0, "a"), Point(0.2, 22.0, "b"), Point(0.4, 24.0, "c")])
    bent = Curve("bent", "v", sorted([*plain.points, Point(0.3, 21.0, "x")]))
    assert differences([plain, bent])[0].rate == pytest.approx(0, abs=1e-6)


def test_methods_are_named_by_varying_settings_without_rate_options(tmp_path: Path) -> None:
    for rank in (4, 8):
        for sigma in ("tanh", "sigmoid"):
            write_result(tmp_path / f"{rank}{sigma}", overrides=[f"rank={rank}", f"model.modulation={sigma}", "seed=1"])
    names = name_methods(find_runs([tmp_path])[0])
    assert set(names) == {"latent_inr model.modulation=tanh", "latent_inr model.modulation=sigmoid"}


def test_failed_and_unfinished_runs_are_listed(tmp_path: Path) -> None:
    write_result(tmp_path / "good")
    for name in ("failed", "killed", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "failed" / FAILED).write_text("rank=500: choose less\n")
    (tmp_path / "killed" / "config.yaml").write_text("rank: 8\n")
    (tmp_path / "broken" / "result.json").write_text("{")
    runs, missing = find_runs([tmp_path])
    assert len(runs) == 1
    reasons = {Path(absent.place).name: absent.reason for absent in missing}
    assert reasons["failed"] == "rank=500: choose less"
    assert reasons["killed"] == "not finished"
    assert "damaged" in reasons["broken"]


def test_the_page_is_one_file(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / FAILED).write_text("out of <memory>\n")
    runs, missing = find_runs([tmp_path])
    own = curves(runs, "psnr")
    chart = draw_curves(own, "psnr", tmp_path / "chart")[-1]
    write_page(tmp_path / "report.html", {"psnr": chart}, chart, {"psnr": differences(own)}, runs, missing)
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "out of &lt;memory&gt;" in page
    assert "Best trade-offs of rate and PSNR" in page
    assert not re.search(r'(src|href)="(?!#)', page.replace("xlink:href", "xlink"))
    assert page.count("<tr>") > 12 + 1


def test_further_videos_are_in_the_table_only(tmp_path: Path) -> None:
    for number in range(14):
        write_result(tmp_path / str(number), video=f"v{number:02d}")
    own = curves(find_runs([tmp_path])[0], "psnr")
    assert len(draw_curves(own, "psnr", tmp_path / "chart")) == 2


def test_latents_on_a_line_are_smooth_and_noise_is_not(tmp_path: Path) -> None:
    import numpy as np

    line = np.arange(30)[:, None] * np.ones((1, 4))
    noise = np.random.default_rng(0).normal(size=(30, 4))
    assert measure_smoothness(line.astype(np.float32)).correlation == pytest.approx(1)
    assert abs(measure_smoothness(noise.astype(np.float32)).correlation) < 0.2
    assert measure_smoothness(line.astype(np.float32)).step < 0.2 < measure_smoothness(noise.astype(np.float32)).step
    assert measure_smoothness(np.ones((5, 2), np.float32)) == (0, 0)


def test_write_result_matches_what_a_fit_writes(tmp_path: Path) -> None:
    result: dict[str, Any] = json.loads(write_result(tmp_path / "one").read_text())
    assert {"model", "video", "bpp", "psnr", "ssim", "ms_ssim", "overrides", "rank"} <= set(result)
