"""Small collections through the command line: killed, shared, damaged, with a full disk."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lightning_inr.data.captioned.split import CaptionedVideo, Segment
from lightning_inr.errors import UserError
from lightning_inr.paths import write_bytes
from lightning_inr.pipelines import collection as task
from lightning_inr.pipelines import collection_worker
from lightning_inr.pipelines.cluster.schedule import Claim
from lightning_inr.pipelines.collection_lock import CollectionLock
from lightning_inr.pipelines.evaluation import measure
from lightning_inr.pipelines.fitting import train
from lightning_inr.pipelines.packing import fit_pack
from lightning_inr.retrieval.collection import Record, open_original, read_manifest
from tests.conftest import ALIGNED, SMALL_OVERRIDES, Outcome, moving_square, write_mp4, write_teacher

Cli = Callable[..., Outcome]
COLLECT = ["task=collect", "collection=collection", *ALIGNED, "dataset.listing.root=shapes", "teacher.weights=clip"]


def test_a_collection_is_a_file_per_video_and_a_manifest(collection: Path) -> None:
    records = read_manifest(collection)
    assert [record.id for record in records] == ["video0", "video1", "video2", "video3"]
    for record in records:
        file = collection / record.path
        assert record.bytes == file.stat().st_size
        assert record.bpp == pytest.approx(8 * record.bytes / (6 * 64 * 64))
        assert (record.frames, record.height, record.width, record.fps) == (6, 64, 64, 12.0)
        assert record.label
        assert record.captions[0].startswith(("A ", "An "))
        assert record.segments[1].start == pytest.approx(1.0)
        assert record.teacher == "clip"
        assert record.seconds > record.fit_seconds > 0
    assert not [path for path in (collection / "records").iterdir() if path.is_dir()]  # no checkpoint is left


def test_a_fit_that_has_not_converged_is_reported_and_counted(cli: Cli, collection: Path) -> None:
    (collection / "video2.linr").unlink()
    outcome = cli(*COLLECT)
    assert outcome.code == 0, outcome.err
    [line] = [line for line in outcome.out.splitlines() if "video2 not converged: " in line]
    assert " dB after 2 steps in " in line or "of latents to the teacher embeddings after 2 steps" in line
    lacking = [record.id for record in read_manifest(collection) if record.unconverged is not None]
    assert "video2" in lacking
    assert f"{len(lacking)} of 4" in next(line for line in outcome.out.splitlines() if line.startswith("  not conv"))


def test_a_manifest_of_an_older_version_is_read(collection: Path) -> None:
    path = collection / "collection.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["unconverged"]), path)
    assert [record.unconverged for record in read_manifest(collection)] == [None] * 4


def test_finished_videos_are_not_fitted_again(cli: Cli, collection: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in collection.glob("*.linr")}
    (collection / "video2.linr").unlink()  # a record alone is no video
    outcome = cli(*COLLECT)
    assert outcome.code == 0, outcome.err
    after = {path: path.stat().st_mtime_ns for path in collection.glob("*.linr")}
    assert [path.stem for path in after if after[path] != before[path]] == ["video2"]
    assert "4 of 4 videos" in outcome.out


def test_other_settings_need_another_folder(cli: Cli, collection: Path) -> None:
    assert "rank: 4 there, 2 now" in cli(*COLLECT, "rank=2").error


def test_another_teacher_needs_another_folder(cli: Cli, collection: Path) -> None:
    write_teacher(Path("other"), seed=1)
    assert "the teacher is in the embedding space of other" in cli(*COLLECT, "teacher.weights=other").error


def test_an_interruption_keeps_finished_videos(cli: Cli, collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("video1", "video3"):
        (collection / "records" / f"{name}.json").unlink()

    def until_the_second(prepared: Any, folder: Path) -> None:
        if folder.name == "video3.fit":
            raise KeyboardInterrupt
        train(prepared, folder)

    monkeypatch.setattr(collection_worker, "train", until_the_second)
    outcome = cli(*COLLECT)
    assert outcome.code == 130
    assert "interrupted; the same command resumes with this video" in outcome.error
    assert [record.id for record in read_manifest(collection)] == ["video0", "video1", "video2"]


def test_a_corrupt_video_is_tried_again_and_listed_as_failed(cli: Cli, collection: Path) -> None:
    shutil.rmtree(collection)
    Path("shapes/videos/video1.mp4").write_bytes(b"no video")
    outcome = cli(*COLLECT)
    assert outcome.code == 0, outcome.err
    assert "failed: video1: dataset.path=" in outcome.out
    assert "3 of 4 videos in collection, 1 failed" in outcome.out
    assert (collection / "failed.txt").read_text().startswith("video1: ")


def test_what_a_killed_fit_has_left_is_removed_when_its_video_is_finished(cli: Cli, collection: Path) -> None:
    for name in ("video1.fit", "video2.fit1", "video9.fit"):
        (collection / "records" / name).mkdir()
        (collection / "records" / name / "fit.ckpt").write_bytes(b"half")
    assert cli(*COLLECT).code == 0
    assert [path.name for path in (collection / "records").glob("*.fit*")] == ["video9.fit"]


def test_a_pack_gives_a_file_for_each_video_and_names_those_that_fail(cli: Cli, collection: Path) -> None:
    shutil.rmtree(collection)
    unsuitable = cli(*COLLECT, "pack=2", "data.window=[8,8]")
    assert "pack=2: data.window is for one video at a time; choose pack=1" in unsuitable.error
    shutil.rmtree(collection, ignore_errors=True)
    Path("shapes/videos/video1.mp4").write_bytes(b"no video")
    outcome = cli(*COLLECT, "pack=2")
    assert outcome.code == 0, outcome.err
    assert "failed: video1: dataset.path=" in outcome.out
    assert "3 of 4 videos in collection, 1 failed" in outcome.out
    records = read_manifest(collection)
    assert [record.id for record in records] == ["video0", "video2", "video3"]
    assert all(record.seconds > record.fit_seconds > 0 and record.cos_seen is not None for record in records)
    assert not [path for path in (collection / "records").iterdir() if path.is_dir()]  # no checkpoint is left


def test_an_interrupted_pack_keeps_finished_videos_and_continues(
    cli: Cli, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(collection)

    def until_the_second(names: Any, fits: Any, options: Any, folder: Path) -> Any:
        if names[0] == "video2":
            raise KeyboardInterrupt
        return fit_pack(names, fits, options, folder)

    with monkeypatch.context() as patch:
        patch.setattr(collection_worker, "fit_pack", until_the_second)
        assert cli(*COLLECT, "pack=2").code == 130
    assert [record.id for record in read_manifest(collection)] == ["video0", "video1"]
    times = {path: path.stat().st_mtime_ns for path in collection.glob("*.linr")}
    outcome = cli(*COLLECT, "pack=2")
    assert "4 of 4 videos in collection, 0 failed" in outcome.out, outcome.err
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_missing_video_is_counted(cli: Cli, collection: Path) -> None:
    shutil.rmtree(collection)
    Path("shapes/videos/video1.mp4").unlink()
    outcome = cli(*COLLECT)
    assert outcome.code == 0, outcome.err
    assert "3 videos, 1 more are missing on disk" in outcome.out
    assert (collection / "missing.txt").read_text() == "video1\n"


def test_a_full_disk_ends_the_run_and_keeps_finished_videos(
    cli: Cli, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("video1", "video3"):
        (collection / "records" / f"{name}.json").unlink()

    def full(path: Path, data: bytes) -> None:
        if path.suffix != ".linr":
            return write_bytes(path, data)
        cause = OSError(errno.ENOSPC, "No space left on device")
        raise UserError(f"cannot write {path}: {cause.strerror}; free some space") from cause

    monkeypatch.setattr("lightning_inr.storage.local.write_bytes", full)
    outcome = cli(*COLLECT)
    assert outcome.code == 1
    assert "No space left on device; free some space" in outcome.error
    assert [record.id for record in read_manifest(collection)] == ["video0", "video2"]


def test_a_video_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from lightning_inr.pipelines.collection_lock import CollectionLock\n"
        "from lightning_inr.data.captioned.split import CaptionedVideo\n"
        "with CollectionLock(Path(sys.argv[1])) as shared:\n"
        "    print(*(shared.claim(index, CaptionedVideo(str(index), Path())).name for index in (3, 4)))"
    )
    with CollectionLock(tmp_path) as shared:
        assert shared.claim(3, CaptionedVideo("3", Path())) is Claim.TAKEN
        output = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert output.stdout.split() == ["HELD", "TAKEN"]


def with_former_id(folder: Path, record: Record) -> Record:
    """`record` as earlier versions wrote it for dataset=folder, with its file: under an id without suffix."""
    id = record.id.removesuffix(".mp4")
    former = record._replace(id=id, path=f"{id}.linr")
    (folder / record.path).rename(folder / former.path)
    (folder / "records" / f"{record.id}.json").unlink()
    (folder / "records" / f"{id}.json").write_text(json.dumps(former.values()))
    return former


def test_a_plain_folder_is_collected_searched_and_captioned_later(
    cli: Cli, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "measuring_process", lambda: nullcontext(measure))
    folder, options = Path("my videos, 2"), ["feature_cache=features", "collection=found here"]
    names = ("Küche (2) [x]=1, 'y' {id}.mp4", "sub folder/a b.mp4")
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_mp4(folder / name, moving_square(4 + number))
    (folder / "broken.avi").write_bytes(b"no video")
    collect = ["task=collect", "dataset=folder", f"dataset.listing.root={folder}", "dataset.first=1", *SMALL_OVERRIDES,
               "module=alignment", "teacher=clip", f"teacher.weights={teacher}", *options]  # fmt: skip
    outcome = cli(*collect)
    assert outcome.code == 0, outcome.err
    assert "failed: broken.avi: dataset.path=" in outcome.out
    records = read_manifest("found here")
    assert [record.id for record in records] == ["Küche (2) [x]=1, 'y' {id}.mp4", "sub folder__a b.mp4"]
    assert [open_original(record).frames for record in records] == [3, 4]
    found = cli("task=search", "collection=found here", f"query_file=found here/{records[0].path}", "k=1")
    assert (found.code, records[0].path in found.out) == (0, True), found.err

    evaluate = ["task=evaluate_retrieval", "run_dir=measured", *options]
    assert "no queries, as its videos have no labels, segments, captions; add captions.csv" in cli(*evaluate).error
    (folder / "broken.avi").unlink()
    (folder / "sub folder" / "a b.txt").write_text("a red square")
    Path("table.csv").write_text(f'video,caption,start,end\n"{names[0]}",it moves,0.04,0.08')
    records[1] = with_former_id(Path("found here"), records[1])
    times = [(Path("found here") / record.path).stat().st_mtime_ns for record in records]
    outcome = cli(*collect, "dataset.listing.captions=table.csv")
    assert outcome.code == 0, outcome.err
    first, second = read_manifest("found here")
    assert (first.id, second.id) == (records[0].id, "sub folder__a b")
    assert ([*first.captions], [*second.captions]) == ([], ["a red square"])
    assert first.segments == [Segment(0.0, 0.04, "it moves")]  # in seconds of the file, which starts at frame 1
    assert [(Path("found here") / record.path).stat().st_mtime_ns for record in (first, second)] == times
    outcome = cli(*evaluate)
    assert outcome.code == 0, outcome.err


def test_a_single_video_is_not_a_collection(cli: Cli) -> None:
    assert "one video is no collection; choose msrvtt" in cli("task=collect").error


def test_a_teacher_requires_an_alignment_module_and_conversely(cli: Cli, collection: Path) -> None:
    assert "add teacher=clip" in cli("module=alignment", "dataset.frames=4").error
    wrong = cli("teacher=shapes", "teacher.weights=clip", "dataset.frames=4")
    assert "add module=alignment" in wrong.error


def test_a_fit_is_measured_against_its_teacher(cli: Cli, collection: Path) -> None:
    outcome = cli("task=fit", *ALIGNED, "dataset.listing.root=shapes", "teacher.weights=clip", "stride=2",
                  "dataset.sequence=video1", "run_dir=fit")  # fmt: skip
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("fit/result.json").read_text())
    assert set(result["alignment"]) == {"teacher", "cos_seen", "cos_held_out"}
    assert "cos to teacher" in outcome.out
