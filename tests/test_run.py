"""Wrong options: one line that names the value and the remedy, exit code 1, no files left."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lightning_inr.codec import Codec
from lightning_inr.codec.container import Container, pack, unpack
from lightning_inr.run import quote_paths
from lightning_inr.types import VideoShape
from tests.conftest import SMALL_OVERRIDES, Outcome, small_model

Cli = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["rnak=100"], "rnak"),
        (["task=transcode"], "transcode"),
        (["model=hnerv2"], "hnerv2"),
        (["rank=0"], "rank=0: choose a whole number from 1 to 32"),
        (["rank=200"], "rank=200: choose a whole number from 1 to 32"),
        (["rank=many"], "rank=many: choose a whole number"),
        (["modulated_layers=[7]"], "modulated_layers=7: choose a whole number from 0 to 2"),
        (["model=latent_inr_conv", "model.modulation=relu"], "modulation=relu: choose one of sigmoid, tanh, one_plus"),
        (["device=tpu"], "device=tpu: choose auto, cpu or cuda"),
        (["max_seconds=-3"], "max_seconds=-3: choose a number above 0"),
        (["effort_steps=null"], "the fit would never end"),
        (["effort=eternal"], "effort"),
        (["module.cuda_graphs=maybe"], "module.cuda_graphs=maybe: choose true or false"),
        (["bpp=-1"], "bpp=-1: choose a number of bits per pixel above 0"),
        (["dataset=file"], "dataset.path has no value; add dataset.path="),
        (["dataset=file", "dataset.path=/no/such.mp4"], "dataset.path=/no/such.mp4: no such file"),
        (["dataset.frames=500"], "dataset.frames=500: the video has 132 frames"),
        (["codec.bits.base=40"], "codec bits of base=40"),
        (["codec.coder=zip"], "codec.coder=zip: choose one of range, huffman"),
        (["data.batch_size=0"], "data.batch_size=0"),
        (["task=decode", "out=x.mp4"], "bitstream has no value; add bitstream="),
        (["task=decode", "bitstream=no.linr", "out=x.mp4"], "bitstream=no.linr: no such file"),
        (["task=info", "bitstream=no.linr"], "bitstream=no.linr: no such file"),
        (["task=info", "cluster=ray"], "cluster=ray task=info: it fits the videos of a collection, or the segments of"),
        (["cluster=ray"], "cluster: fits segments of a video at once; add segment_frames=120, or leave cluster out"),
    ],
)
def test_wrong_options(cli: Cli, options: list[str], message: str) -> None:
    outcome = cli(*options)
    assert outcome.code == 1
    assert message in outcome.error
    assert not list(Path.cwd().rglob("video.linr"))


def test_a_sweep_under_torchrun_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    outcome = cli("-m", "rank=1,2")
    assert outcome.code == 1
    assert "-m: a sweep starts the processes of its jobs; run the same command without torchrun" in outcome.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["out=x.gif"], "out=x.gif: name a video"),
        (["out=x.mp4", "frames=10:13"], "frames=10:13: this video has frames 0:12"),
        (["out=x.mp4", "size=big"], "size=big: give HEIGHTxWIDTH"),
        (["out=x.mp4", "slowdown=0"], "slowdown=0: give a whole number"),
        (["out=/proc/nothing/x.mp4"], "cannot write /proc/nothing/x.mp4"),
    ],
)
def test_wrong_decodes(cli: Cli, options: list[str], message: str) -> None:
    Path("video.linr").write_bytes(Codec().encode(small_model(video=VideoShape(12, 48, 64, 25.0))))
    outcome = cli("task=decode", "bitstream=video.linr", *options)
    assert outcome.code == 1
    assert message in outcome.error
    assert [path.name for path in Path.cwd().iterdir()] == ["video.linr"]


@pytest.mark.parametrize("task", [["task=decode", "out=x.mp4"], ["task=info"], ["task=evaluate"]])
def test_a_damaged_file(cli: Cli, task: list[str]) -> None:
    data = Codec().encode(small_model())
    Path("video.linr").write_bytes(data[: len(data) // 2])
    outcome = cli(*task, "bitstream=video.linr")
    assert outcome.code == 1
    assert "damaged .linr" in outcome.error
    assert not Path("x.mp4").exists()


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_an_interruption_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, sweep: list[str]) -> None:
    def interrupted(cfg: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_inr.tasks.info.run", interrupted)
    outcome = cli(*sweep, "task=info", "bitstream=a.linr")
    assert outcome.code == 130
    assert "interrupted; nothing is left half-written" in outcome.error


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "lightning_inr.run", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


@pytest.mark.parametrize(
    "name",
    [
        "a b.mp4", "a=b,c[1]{x}#~.mp4", "ünïcode.mp4", "it's.mp4", "back\\slash'q.mp4", "[x].mp4", 'd"q .mp4',
        "日本.mp4", "a(b).mp4", "a&b;c.mp4", "\\' x",
    ],
)  # fmt: skip
def test_paths_need_no_quotes(name: str) -> None:
    parser = OverridesParser.create()
    for option in ("dataset.path", "out", "collection"):
        (override,) = parser.parse_overrides(quote_paths([f"{option}={name}"]))
        assert override.value() == name


def test_a_list_in_a_sweep_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = OverridesParser.create()
    (override,) = parser.parse_overrides(quote_paths(["-m", "dataset.path=a b.mp4,c.mp4"])[1:])
    assert override.is_sweep_override()
    Path("a b.mp4,c.mp4").touch()
    (override,) = parser.parse_overrides(quote_paths(["-m", "dataset.path=a b.mp4,c.mp4"])[1:])
    assert override.value() == "a b.mp4,c.mp4"
    assert quote_paths(["rank=2,3", "runs=[a,b]", "bpp=0.2"]) == ["rank=2,3", "runs=[a,b]", "bpp=0.2"]


@pytest.mark.parametrize("out", ["", "null", "/", f"{'x' * 300}.mp4", "x.txt"])
def test_an_output_that_cannot_be_written(cli: Cli, out: str) -> None:
    Path("video.linr").write_bytes(Codec().encode(small_model()))
    outcome = cli("task=decode", "bitstream=video.linr", f"out={out}")
    assert outcome.code == 1
    assert outcome.error.count("\n") == 0
    assert [path.name for path in Path.cwd().iterdir()] == ["video.linr"]


def test_frames_go_into_the_working_folder(cli: Cli) -> None:
    Path("video.linr").write_bytes(Codec().encode(small_model()))
    assert cli("task=decode", "bitstream=video.linr", "out=.").code == 0
    assert len(list(Path.cwd().glob("*.png"))) == 5


def test_a_pipe_is_no_file(cli: Cli) -> None:
    os.mkfifo("video.linr")
    outcome = cli("task=info", "bitstream=video.linr")
    assert outcome.code == 1
    assert "bitstream=video.linr: not a file" in outcome.error


def test_a_limit_is_raised_by_name(cli: Cli) -> None:
    Path("video.linr").write_bytes(Codec().encode(small_model()))
    outcome = cli("task=info", "bitstream=video.linr", "limits.parameters=10")
    assert outcome.code == 1
    remedy = outcome.error.rpartition("add ")[2].strip()
    assert remedy.startswith("limits.parameters=")
    assert cli("task=info", "bitstream=video.linr", remedy).code == 0
    assert "limits.pixels=0: choose a whole number" in cli("task=info", "bitstream=a", "limits.pixels=0").error


def test_control_characters_of_a_file_are_escaped(cli: Cli) -> None:
    container = unpack(Codec().encode(small_model()))
    Path("video.linr").write_bytes(
        pack(Container(container.header | {"model": "\x1b[2J" + "A" * 10**5}, container.sections))
    )
    outcome = cli("task=info", "bitstream=video.linr")
    assert outcome.code == 1
    assert "\x1b" not in outcome.error
    assert len(outcome.error) < 600


def test_a_text_file_named_mp4(cli: Cli) -> None:
    Path("text.mp4").write_text("hello")
    outcome = cli("dataset=file", "dataset.path=text.mp4")
    assert outcome.code == 1
    assert "dataset.path=text.mp4: not a video FFmpeg can read" in outcome.error


def test_the_wrong_source(cli: Cli, images: Path) -> None:
    Path("video.linr").write_bytes(Codec().encode(small_model()))
    outcome = cli("task=evaluate", "bitstream=video.linr", "dataset=file", f"dataset.path={images}")
    assert outcome.code == 1
    assert "holds 5 frames of 30x22, the dataset 6 of 64x48; add dataset.frames=5" in outcome.error


def test_no_permission_at_the_output(cli: Cli, images: Path) -> None:
    outcome = cli("dataset=file", f"dataset.path={images}", "run_dir=/proc/run", *SMALL_OVERRIDES)
    assert outcome.code == 1
    assert "cannot write /proc/run" in outcome.error


def test_an_unknown_model_option_fails_in_a_sweep_too(cli: Cli) -> None:
    outcome = cli("-m", "rank=2,3", "spin=1")
    assert outcome.code == 1
    assert "spin" in outcome.error


def test_wrong_options_are_errors_before_torch_is_imported() -> None:
    script = "import sys; from lightning_inr import run; run.main()"
    command = [sys.executable, "-X", "importtime", "-c", script, "rnak=1"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HYDRA_FULL_ERROR": "0"})
    assert ended.returncode == 1
    assert "error: " in ended.stderr
    assert " torch\n" not in ended.stderr


def test_an_error_of_the_disk_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "records/video0.json")

    monkeypatch.setattr("lightning_inr.tasks.info.run", fail)
    message = "records/video0.json: Input/output error; check the disk, and run the same command again"
    assert cli("task=info", "bitstream=a.linr").err == f"error: {message}\n"


def test_a_traceback_is_printed_on_request(images: Path) -> None:
    command = [sys.executable, "-m", "lightning_inr.run", "dataset=file", "dataset.path=/no/such.mp4"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HYDRA_FULL_ERROR": "1"})
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_a_missing_package_is_named_with_its_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(cfg: object) -> None:
        raise ModuleNotFoundError("No module named 'faiss.contrib'", name="faiss.contrib")

    monkeypatch.setattr("lightning_inr.tasks.info.run", search)
    outcome = cli("task=info", "bitstream=video.linr")
    assert outcome.code == 1
    assert outcome.error.strip() == "error: faiss is not installed; pip install 'lightning_inr[retrieval]'"
