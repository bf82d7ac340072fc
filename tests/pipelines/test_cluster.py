"""Collections on several machines: the order of work, claims in a bucket, shards, and a small Ray cluster."""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import lightning as L
import pytest

from lightning_inr.codec import decode
from lightning_inr.data.captioned.split import CaptionedVideo
from lightning_inr.data.shapes.listing import list_shapes
from lightning_inr.errors import UserError
from lightning_inr.pipelines import collection as collection_pipeline
from lightning_inr.pipelines.cluster import ray as on_ray
from lightning_inr.pipelines.cluster import schedule as scheduling
from lightning_inr.pipelines.cluster.leases import BEAT, DEAD_AFTER, Leases
from lightning_inr.pipelines.cluster.schedule import Claim, Failure, InProcess, schedule
from lightning_inr.pipelines.cluster.shards import Unit, cut, take_shard
from lightning_inr.pipelines.evaluation import measure
from lightning_inr.retrieval.collection import read_manifest
from lightning_inr.storage import Folder, open_folder
from tests.conftest import Outcome, moving_square, write_mp4
from tests.servers import BUCKET, S3Server

Cli = Callable[..., Outcome]
SMALL_FITS = [
    "dataset=shapes", "dataset.most_frames=4", "dataset.height=16", "dataset.width=16", "model.width=8",
    "model.hyper_width=4", "model.latent_dim=4", "rank=2", "max_steps=2", "max_seconds=null",
]  # fmt: skip
BUCKET_COLLECTION = f"s3://{BUCKET}/shapes"


class Recorder:
    """What a schedule has done with each video."""

    def __init__(self, claims: dict[int, list[Claim]] | None = None) -> None:
        self.claims = claims or {}
        self.finished: list[tuple[int, object, bool]] = []

    def claim(self, index: int) -> Claim:
        answers = self.claims.get(index, [])
        return answers.pop(0) if answers else Claim.TAKEN

    def finish(self, index: int, outcome: object, is_last: bool) -> None:
        self.finished.append((index, outcome, is_last))


def test_a_video_that_fails_is_tried_again_alone_after_all_others() -> None:
    calls: list[Unit] = []

    def fit(unit: Unit) -> Sequence[object]:
        calls.append(unit)
        return [Failure("broken") if video == 1 else video for video in unit]

    recorder = Recorder()
    schedule([(0, 1), (2, 3)], InProcess(fit), recorder.claim, recorder.finish, attempts=2)
    assert calls == [(0, 1), (2, 3), (1,)]
    assert (1, Failure("broken"), False) in recorder.finished
    assert recorder.finished[-1] == (1, Failure("broken"), True)
    assert {video for video, outcome, _ in recorder.finished if video == outcome} == {0, 2, 3}


def test_videos_of_others_are_left_and_those_of_the_unknown_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "POLL", 0.0)
    unknown = [Claim.UNKNOWN] * 3
    recorder = Recorder({0: [Claim.DONE], 1: [Claim.HELD], 2: [*unknown, Claim.TAKEN], 3: [*unknown, Claim.HELD]})
    schedule(cut(range(5)), InProcess(list), recorder.claim, recorder.finish, attempts=1)
    assert [video for video, *_ in recorder.finished] == [4, 2]


class TwoPlaces:
    """An executor of two places; the first start of unit (0,) never ends."""

    def __init__(self) -> None:
        self.started: list[Unit] = []
        self.starts_of_first = 0
        self.cancelled: list[Unit] = []

    def capacity(self) -> int:
        return 2

    def start(self, unit: Unit) -> None:
        self.starts_of_first += unit == (0,)
        if unit != (0,) or self.starts_of_first == 2:
            self.started.append(unit)

    def wait(self, seconds: float) -> list[tuple[Unit, Sequence[object]]]:
        ready, self.started = self.started, []
        return [(unit, list(unit)) for unit in ready]

    def cancel(self, unit: Unit) -> None:
        self.cancelled.append(unit)


def test_units_hold_videos_of_one_kind() -> None:
    assert list(cut(range(3))) == [(0,), (1,), (2,)]
    assert list(cut(range(7), 2, "abbabac".__getitem__)) == [(1, 2), (0, 3), (4,), (5,), (6,)]


def test_a_slow_unit_is_started_once_more_when_nothing_else_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "SLOW", 0.0)
    recorder, executor = Recorder(), TwoPlaces()
    schedule(cut(range(6)), executor, recorder.claim, recorder.finish, attempts=1)
    assert [video for video, *_ in recorder.finished] == [1, 2, 3, 4, 5, 0]
    assert executor.starts_of_first == 2
    assert executor.cancelled[-1] == (0,)


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "3", "-1/3", "x/y"])
def test_a_shard_beyond_the_count_is_one_line(wrong: str) -> None:
    with pytest.raises(UserError, match=rf"shard={wrong}: .*PART/PARTS"):
        take_shard(10, wrong)


def test_shards_share_the_videos_between_them() -> None:
    shards = [list(take_shard(10, f"{part}/3")) for part in (1, 2, 3)]
    assert sorted(place for shard in shards for place in shard) == list(range(10))


@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 1), (5, 3)])
def test_a_job_of_a_slurm_array_takes_its_part(first: int, step: int) -> None:
    def part(number: int) -> range:
        values = {"ID": first + number * step, "MIN": first, "COUNT": 4, "STEP": step, "MAX": first + 3 * step}
        return take_shard(10, "slurm", {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()})

    assert sorted(video for number in range(4) for video in part(number)) == list(range(10))


def test_a_slurm_shard_needs_an_array_and_a_part_within_it() -> None:
    with pytest.raises(UserError, match=r"shard=slurm: SLURM_ARRAY_TASK_ID is not set; submit with sbatch --array"):
        take_shard(10, "slurm", {})
    beyond = {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4"}
    with pytest.raises(UserError, match="shard=slurm: part 10 of 4"):
        take_shard(10, "slurm", beyond)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


VIDEOS = [CaptionedVideo(f"video{index}", Path()) for index in range(4)]


@pytest.fixture
def shared(tmp_path: Path) -> Folder:
    return open_folder(f"memory://{tmp_path.name}", "collection")


def test_a_video_is_claimed_once_and_its_claim_stays_when_it_is_done(shared: Folder) -> None:
    with Leases(shared) as one, Leases(shared) as other:
        assert one.claim(0, VIDEOS[0]) is Claim.TAKEN
        assert other.claim(0, VIDEOS[0]) is Claim.UNKNOWN
        assert other.claim(1, VIDEOS[1]) is Claim.TAKEN
        shared.write("video0.linr", b"")
        shared.write("records/video0.json", b"")
        one.release(0, VIDEOS[0], is_done=True)
        assert other.claim(0, VIDEOS[0]) is Claim.DONE
        other.release(1, VIDEOS[1], is_done=False)
        assert one.claim(1, VIDEOS[1]) is Claim.TAKEN
    with Leases(shared) as later:
        assert later.claim(0, VIDEOS[0]) is Claim.DONE
        assert later.claim(1, VIDEOS[1]) is Claim.TAKEN  # of a process that has ended


def test_a_claim_is_taken_over_once_its_worker_has_been_silent_by_the_clock_of_the_observer(shared: Folder) -> None:
    dead, clock = Leases(shared), Clock()
    dead._beat()
    assert dead.claim(0, VIDEOS[0]) is Claim.TAKEN
    with Leases(shared, now=clock) as one, Leases(shared) as other:
        assert one.claim(0, VIDEOS[0]) is Claim.UNKNOWN
        clock.now += DEAD_AFTER - 1
        assert one.claim(0, VIDEOS[0]) is Claim.UNKNOWN
        clock.now += 1
        assert one.claim(0, VIDEOS[0]) is Claim.TAKEN
        assert other.claim(0, VIDEOS[0]) is Claim.UNKNOWN  # it is the first one's now
        assert shared.read("records/video0.claim").decode() == one.name


def test_a_worker_that_is_seen_to_live_keeps_its_videos_whatever_its_clock_shows(
    shared: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, clock = Leases(shared), Clock()
    holder._beat()
    assert holder.claim(0, VIDEOS[0]) is Claim.TAKEN
    with Leases(shared, now=clock) as observer:
        assert observer.claim(0, VIDEOS[0]) is Claim.UNKNOWN
        for jump in (3600.0, -7200.0, 0.0):  # of the wall clock, which nobody reads
            monkeypatch.setattr(time, "time", lambda jump=jump: 1e9 + jump)
            holder._beat()
            clock.now += BEAT
            assert observer.claim(0, VIDEOS[0]) is Claim.HELD


@pytest.fixture
def in_bucket(store: S3Server, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run task=collect on a bucket; files are measured in this process."""
    monkeypatch.setattr(collection_pipeline, "measuring_process", lambda: nullcontext(measure))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ["task=collect", f"collection={BUCKET_COLLECTION}", *SMALL_FITS, "dataset.listing.root=shapes"]
    return lambda *more: cli(*options, "dataset.listing.videos=3", *more)


def test_a_collection_in_a_bucket_is_that_of_a_folder(in_bucket: Cli, cli: Cli, store: S3Server) -> None:
    outcome = in_bucket()
    assert outcome.code == 0, outcome.err
    assert f"3 of 3 videos in {BUCKET_COLLECTION}, 0 failed" in outcome.out
    bucket = open_folder(BUCKET_COLLECTION, "collection")
    assert [each.name for each in bucket.names()] == [
        "collection.parquet", "config.yaml", "failed.txt", "missing.txt", "video0.linr", "video1.linr", "video2.linr",
    ]  # fmt: skip
    assert not list(bucket.names("records/workers/"))
    for number in range(3):
        assert decode(bucket.read(f"video{number}.linr")).video.frames == 4
    config = bucket.read("config.yaml")
    assert b"AWS" not in config
    assert cli("task=collect", "collection=local", *SMALL_FITS, "dataset.listing.root=shapes",
               "dataset.listing.videos=3").code == 0  # fmt: skip
    assert Path("local/video1.linr").read_bytes() == bucket.read("video1.linr")
    Path("local/collection.parquet").write_bytes(bucket.read("collection.parquet"))
    assert [record.id for record in read_manifest("local")] == ["video0", "video1", "video2"]
    before = len(store.writes)
    bucket.remove("records/video1.json")
    outcome = in_bucket()
    assert outcome.code == 0, outcome.err
    files = [each for each in store.writes[before:] if each.endswith(".linr")]
    assert files == ["PUT /videos/shapes/video1.linr"]
    assert "rank: 2 there, 1 now" in in_bucket("rank=1").error


def test_a_collection_of_a_bucket_of_videos(
    store: S3Server, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(collection_pipeline, "measuring_process", lambda: nullcontext(measure))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    videos = open_folder(f"s3://{BUCKET}/in", "collection")
    for name in ("one.mp4", "two.mp4"):
        videos.write(name, write_mp4(tmp_path / name, moving_square(4)).read_bytes())
    small = [option for option in SMALL_FITS if not option.startswith(("dataset=", "dataset.most"))]
    collect = ["task=collect", "dataset=folder", f"dataset.listing.root=s3://{BUCKET}/in", *small]
    outcome = cli(*collect, f"collection=s3://{BUCKET}/out", "pack=2")
    assert outcome.code == 0, outcome.err
    assert "2 of 2 videos" in outcome.out
    assert not [path for path in (tmp_path / "cache" / "lightning_inr" / "videos").rglob("*") if path.is_file()]
    record = open_folder(f"s3://{BUCKET}/out", "collection").read("records/one.mp4.json")
    assert f"s3://{BUCKET}/in/one.mp4".encode() in record


def test_the_command_that_completes_a_bucket_builds_its_index(
    in_bucket: Cli, store: S3Server, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligned = ["module=alignment", "teacher=shapes", f"teacher.weights={teacher}", "feature_cache=features"]
    written = []
    for shard in ("1/2", "2/2"):
        before = len(store.writes)
        outcome = in_bucket(*aligned, f"shard={shard}")
        assert outcome.code == 0, outcome.err
        written.append([each for each in store.writes[before:] if "/index" in each])
    assert not written[0]
    assert written[1]


def test_shards_of_one_folder_keep_each_others_failures(in_bucket: Cli, store: S3Server) -> None:
    list_shapes("shapes", "test", videos=3, seed=0)
    good = Path("shapes/videos/video0.mp4").read_bytes()
    for number in (0, 1):
        Path(f"shapes/videos/video{number}.mp4").write_bytes(b"no video")
    in_bucket("shard=2/3")
    in_bucket("shard=1/3")
    bucket = open_folder(BUCKET_COLLECTION, "collection")
    assert [line[:8] for line in bucket.read("failed.txt").decode().splitlines()] == ["video0: ", "video1: "]
    Path("shapes/videos/video0.mp4").write_bytes(good)
    assert in_bucket("shard=1/3").code == 0
    assert [line[:8] for line in bucket.read("failed.txt").decode().splitlines()] == ["video1: "]


def test_a_bucket_that_fails_and_a_video_that_is_broken_lose_nothing(
    in_bucket: Cli, store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_shapes("shapes", "test", videos=3, seed=0)
    Path("shapes/videos/video1.mp4").write_bytes(b"no video")
    store.fail_every = 5
    monkeypatch.setattr("lightning_inr.storage.remote.FIRST_PAUSE", 0.01)
    outcome = in_bucket()
    store.fail_every = 0
    assert outcome.code == 0, outcome.err
    assert "2 of 3 videos" in outcome.out
    bucket = open_folder(BUCKET_COLLECTION, "collection")
    assert bucket.read("failed.txt").startswith(b"video1: dataset.path=")


def test_a_bucket_without_write_permission_is_an_error_before_the_first_fit(in_bucket: Cli, store: S3Server) -> None:
    store.read_only, before = True, len(store.writes)
    assert (
        f"collection={BUCKET_COLLECTION}/config.yaml: AccessDenied; these credentials may not write"
        in in_bucket().error
    )
    assert len(store.writes) == before + 1


def test_an_address_with_credentials_is_refused_and_written_nowhere(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("task=collect", "collection=s3://user:hidden@videos/a", *SMALL_FITS, "dataset.listing.root=shapes")
    assert "collection=s3://***@videos/a: a URL with credentials" in outcome.error
    assert "hidden" not in outcome.out + outcome.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hidden" in path.read_bytes()]


class DiesOnce(L.Callback):
    """Kills the process of the first fit that starts, by SIGKILL."""

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        try:
            Path(os.environ["DIED"]).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def test_ray_fits_a_folder_though_a_worker_dies_and_a_video_is_broken(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One video has a single frame."""
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # it kills workers for the memory of other programs
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, frames in {"a.mp4": 3, "b.mp4": 1, "d.mp4": 2}.items():
        write_mp4(folder / name, moving_square(frames, 32, 32))
    (folder / "c.mp4").write_bytes(b"no video")
    options = [each for each in SMALL_FITS if not each.startswith("dataset")]
    outcome = cli("task=collect", "collection=c", "dataset=folder", f"dataset.listing.root={folder}", *options,
                  "cluster=ray", "cluster.workers=1",
                  "+callbacks.dies._target_=tests.pipelines.test_cluster.DiesOnce")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "died").exists()
    assert "failed: c.mp4: dataset.path=" in outcome.out
    assert [(record.id, record.frames) for record in read_manifest("c")] == [("a.mp4", 3), ("b.mp4", 1), ("d.mp4", 2)]


def test_an_address_where_nothing_answers_is_one_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome = cli("task=collect", "collection=c", *SMALL_FITS, "cluster=ray", f"cluster.address=127.0.0.1:{port}")
    assert outcome.code == 1
    assert f"cluster.address=127.0.0.1:{port}: Connection refused; start Ray there, or leave it out" in outcome.error


def test_a_worker_of_another_version_is_one_line() -> None:
    with pytest.raises(UserError, match=r"has lightning_inr .*, and this driver 0\.0\.1; install the same version"):
        on_ray._fit_unit("0.0.1", b"", b"", 0)
