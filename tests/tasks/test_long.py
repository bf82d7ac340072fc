"""A long video is fitted in segments, to one file that every reader of a file reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import lightning_inr as li
from lightning_inr.codec import SegmentedVideo, read_video
from lightning_inr.codec.segment_table import read_segment_table
from lightning_inr.errors import UserError
from lightning_inr.export.files import export_file
from lightning_inr.pipelines import run_folder, segment_worker, segmented_fit
from lightning_inr.pipelines.cluster.schedule import Failure
from lightning_inr.pipelines.cluster.shards import Unit
from lightning_inr.pipelines.evaluation import measure
from lightning_inr.pipelines.fitting import fit_video
from lightning_inr.pipelines.segment_worker import SegmentSetup
from lightning_inr.pipelines.segmented_fit import plan_segments
from lightning_inr.retrieval.collection import Record, write_manifest
from tests.conftest import SMALL_OVERRIDES, Outcome, moving_square, write_images, write_teacher

Cli = Callable[..., Outcome]
FRAMES, CUT = 13, 6
LONG = ["dataset=file", "dataset.path=long", "segment_frames=7", "max_steps=8", "run_dir=run", *SMALL_OVERRIDES[:4],
        "logger=none"]  # fmt: skip


@pytest.fixture(autouse=True)
def long_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `long` of 13 images of 64x48, with a cut at frame 6; what is fitted is measured in this process."""
    video = moving_square(FRAMES)
    video[CUT:] = 255 - video[CUT:].flip(2)
    write_images(tmp_path / "long", video)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "measure_in_new_process", measure)


@pytest.mark.parametrize(
    ("shots", "frames", "most", "lengths"),
    [
        ([0], 10, 10, [10]),
        ([0], 11, 10, [6, 5]),
        ([0], 30, 10, [10, 10, 10]),
        ([0, 8], 20, 10, [8, 6, 6]),
        ([0, 3], 20, 10, [10, 10]),  # a cut in the first half of a segment: it stays in it
        ([0, 6, 8, 12], 16, 10, [8, 8]),
        ([0, 10], 20, 10, [10, 10]),
        ([0], 3, 1, [1, 1, 1]),
    ],
)
def test_segments_end_at_shots_that_are_near(shots: list[int], frames: int, most: int, lengths: list[int]) -> None:
    plan = plan_segments(shots, frames, most)
    assert [len(each) for each in plan] == lengths
    assert [number for each in plan for number in each] == list(range(frames))


def test_every_command_reads_the_file(cli: Cli) -> None:
    outcome = cli(*LONG)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in Path("run").iterdir()} == {
        "video.linr", "decoded.mp4", "comparison.png", "training.png", "result.json", "config.yaml",
    }  # fmt: skip
    data, result = Path("run/video.linr").read_bytes(), json.loads(Path("run/result.json").read_text())
    table = read_segment_table(data)
    assert table is not None
    assert [each.frames for each in table.segments] == [CUT, FRAMES - CUT]
    assert (result["segments"], result["steps"], result["frames"]) == (2, 16, FRAMES)
    assert result["bytes"] == len(data) == Path("run/video.linr").stat().st_size
    assert result["bpp"] == pytest.approx(8 * len(data) / (FRAMES * 48 * 64))
    assert sum(result["role_bytes"].values()) < len(data)

    frames = torch.stack(list(read_video(data).render([5, 6, 12]))).permute(0, 2, 3, 1).numpy()
    assert cli("task=decode", "bitstream=run/video.linr", "out=png", "frames=5:7").code == 0
    decoded = [np.asarray(Image.open(file)) for file in sorted(Path("png").glob("*.png"))]
    assert np.array_equal(decoded, frames[:2])
    assert np.array_equal(li.open("run/video.linr")[[5, 6, 12]], frames)
    assert li.open("run/video.linr").latents.shape == (FRAMES, 8)
    clips = li.ClipDataset("run/video.linr", frames=4, step=2)
    assert np.array_equal(clips[0]["frames"][3].permute(1, 2, 0), frames[1])
    inside = json.loads(cli("task=info", "bitstream=run/video.linr").out)
    assert [each["first"] for each in inside["segments"]] == [0, CUT]
    assert inside["params"] == result["params"]

    assert "holds a finished fit" in cli(*LONG).out
    other = cli(*[each.replace("segment_frames=7", "segment_frames=5") for each in LONG])
    assert "segment_frames: 7 there, 5 now" in other.error


def test_an_interrupted_fit_goes_on_at_its_segment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*LONG).code == 0
    uninterrupted = Path("run/video.linr").read_bytes()
    calls = list[Path]()

    def interrupted(prepared: Any, options: Any, folder: Path) -> Any:
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit_video(prepared, options, folder)

    monkeypatch.setattr(segment_worker, "fit_video", interrupted)
    again = [each.replace("run_dir=run", "run_dir=again") for each in LONG]
    stopped = cli(*again)
    assert stopped.code == 130
    assert stopped.error == "error: interrupted; the same command with run_dir=again goes on from there"
    assert Path("again/segments/00000.linr").exists()
    assert not Path("again/video.linr").exists()
    assert cli(*again).code == 0
    assert [path.name for path in calls] == ["00000", "00001", "00001"]  # the first is not fitted twice
    assert Path("again/video.linr").read_bytes() == uninterrupted


def test_segments_of_a_ray_cluster_are_those_of_one_process(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    assert cli(*LONG).code == 0
    there = [each.replace("run_dir=run", "run_dir=there") for each in LONG]
    outcome = cli(*there, "cluster=ray", "cluster.workers=2")
    assert outcome.code == 0, outcome.err
    assert Path("there/video.linr").read_bytes() == Path("run/video.linr").read_bytes()
    assert {path.name for path in Path("there").iterdir()} == {path.name for path in Path("run").iterdir()}


class FailingExecutor:
    """Runs units in this process; segment 1 fails."""

    started: ClassVar[list[Unit]] = []

    def __init__(self, _: Any, setup: SegmentSetup, *__: Any) -> None:
        self.worker, self.waiting = setup.open(), list[Unit]()

    def __enter__(self) -> "FailingExecutor":
        return self

    def __exit__(self, *_: object) -> None: ...

    def capacity(self) -> int:
        return 1

    def start(self, unit: Unit) -> None:
        self.waiting.append(unit)

    def wait(self, seconds: float) -> list[tuple[Unit, list[int | Failure]]]:
        unit = self.waiting.pop()
        self.started.append(unit)
        return [(unit, [Failure("no room")] if unit == (1,) else self.worker.fit_unit(unit))]

    def cancel(self, unit: Unit) -> None: ...


def test_a_segment_that_fails_on_a_cluster_is_named_and_the_others_stay(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmented_fit, "RayExecutor", FailingExecutor)
    outcome = cli(*LONG, "cluster=ray")
    assert outcome.code == 1
    assert "1 of 2 segments failed, the first 1: no room; run it again" in outcome.error
    assert FailingExecutor.started == [(0,), (1,), (1,)]
    assert [path.name for path in Path("run/segments").glob("*.linr")] == ["00000.linr"]


def test_frames_of_an_aligned_file_are_found(cli: Cli) -> None:
    write_teacher(Path("clip"))
    aligned = ["module=alignment", "teacher=clip", "teacher.model=null", "teacher.weights=clip", "feature_cache=cache"]
    assert cli(*LONG, *aligned).code == 0
    result = json.loads(Path("run/result.json").read_text())
    assert -1 <= result["alignment"]["cos_seen"] <= 1
    video = li.open("run/video.linr")
    assert isinstance(video.model, SegmentedVideo)
    assert video.embeddings.shape == (FRAMES, 32)
    record = Record("long", "video.linr", "{}", FRAMES, 48, 64, 25.0, None, [], [], "tiny", 1, 0.1, 30.0, None, None,
                    None, 1, 1)  # fmt: skip
    write_manifest(Path("run"), [record])
    [hit] = li.search("run", file="run/video.linr", frame=9, k=1, per="frame")
    assert (hit.record.id, hit.frame) == ("long", 9)
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert cli("task=search", "collection=run", "image=long/00003.png", "k=1").code == 0
    with pytest.raises(UserError, match="no projector; use a shared one"):
        video.model.visual_tokens()


def test_what_needs_one_network_says_so(cli: Cli) -> None:
    assert cli(*LONG).code == 0
    with pytest.raises(UserError, match="a network per segment"):
        export_file("run/video.linr", "page.html")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["segment_frames=0"], "segment_frames=0: choose a whole number from 1, or null"),
        (["segment_frames=2.5"], "segment_frames=2.5: choose a whole number"),
        (["stride=2"], "segments need stride=1"),
        (["model.shots=[0,6]"], "leave model.shots=null"),
        (["module=token_alignment", "video_llm=tiny"], "segments have no projector of their own"),
        (["task=collect", "collection=c", "dataset=shapes"], "a collection has a network per video; leave it out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(cli: Cli, options: list[str], message: str) -> None:
    given = [each for each in LONG if not (each.startswith("dataset") and "dataset=shapes" in options)]
    outcome = cli(*given, *options)
    assert outcome.code == 1
    assert message in outcome.error
    assert not Path("run/segments").exists()


def test_a_short_video_gives_a_file_of_one_network(cli: Cli) -> None:
    assert cli(*LONG, "segment_frames=40").code == 0
    assert read_segment_table(Path("run/video.linr").read_bytes()) is None
    assert json.loads(Path("run/result.json").read_text())["segments"] == 1
