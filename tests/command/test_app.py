"""The verbs of `lightning-inr`, called as the console calls them."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from torch import Tensor

import lightning_inr as li
from lightning_inr.codec import Codec
from lightning_inr.command.app import app
from lightning_inr.command.compare import PEERS
from lightning_inr.data.sources.file import open_source
from lightning_inr.data.writer import write_y4m
from lightning_inr.training.checkpoints import WholeCheckpoints, resume_checkpoint
from tests.conftest import SMALL_OVERRIDES, Outcome, moving_square, small_model

Command = Callable[..., Outcome]
SMALL_FIT = [part for each in SMALL_OVERRIDES if not each.startswith("logger") for part in ("--set", each)]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["lightning-inr", *map(str, arguments)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as stop:
            app(prog_name="lightning-inr")
        out, err = capfdbinary.readouterr()
        return Outcome(int(stop.value.code or 0), out.decode("latin1"), err.decode())

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "clip.linr").write_bytes(Codec().encode(small_model()))
    return tmp_path / "clip.linr"


def test_help_names_every_verb(command: Command) -> None:
    shown = command("--help").out
    for verb in ("encode", "decode", "info", "compare", "collect", "search", "ask", "play", "demo", "export"):
        assert f"  {verb} " in shown
        assert command(verb, "--help").code == 0
    assert command("--version").out == f"lightning-inr {li.__version__}\n"
    assert command("sing").code == 2


def test_a_video_is_encoded_and_decoded(command: Command, images: Path) -> None:
    encoded = command("encode", images, "-o", "clip.linr", "--bpp", "8", *SMALL_FIT)
    assert encoded.code == 0, encoded.err
    assert encoded.out.splitlines()[-1].startswith("clip.linr: PSNR ")
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []
    decoded = command("decode", "clip.linr", "-o", "out.mp4", "--size", "64x32", "--frames", "1:3")
    assert (decoded.code, decoded.out) == (0, "2 frames -> out.mp4\n")
    with av.open("out.mp4") as container:
        frames = list(container.decode(video=0))
    assert [(each.width, each.height) for each in frames] == [(64, 32)] * 2


def test_progress_as_lines_of_json(command: Command, images: Path) -> None:
    encoded = command("encode", images, "-o", "clip.linr", "--progress", "json", *SMALL_FIT)
    lines = [json.loads(line) for line in encoded.err.splitlines() if line.startswith("{")]
    assert {"read", "fit", "measure"} <= {line["stage"] for line in lines}
    assert {"psnr", "seconds_left", "epoch"} <= set(next(line for line in reversed(lines) if line["stage"] == "fit"))


def test_y4m_on_standard_output(command: Command, file: Path) -> None:
    piped = command("decode", file, "-o", "-")
    assert piped.code == 0, piped.err
    Path("out.y4m").write_bytes(piped.out.encode("latin1"))
    video, source = li.open(file), open_source("out.y4m")
    assert source.frames == len(video)
    difference = np.abs(source.read(2).permute(1, 2, 0).numpy().astype(int) - video[2].astype(int))
    assert difference.max() <= 4  # of 8-bit YUV


def test_a_file_on_standard_input(command: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert "latent_inr" in command("info", "-").out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert command("info", "-").err == "error: -: standard input is empty; check the command before the pipe\n"


def y4m(video: Tensor) -> bytes:
    stream = io.BytesIO()
    write_y4m(video, stream, 25.0)
    return stream.getvalue()


def test_the_same_standard_input_goes_on_after_an_interrupt(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(data: bytes) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return command("encode", "-", "-o", "clip.linr", "--progress", "json", *SMALL_FIT, "--set", "max_epochs=20")

    def save(checkpoints: WholeCheckpoints, checkpoint: dict[str, Any], path: str, storage_options: None) -> None:
        save_whole(checkpoints, checkpoint, path)
        if checkpoint["epoch"] >= 10:
            raise KeyboardInterrupt

    save_whole, every_epoch = WholeCheckpoints.save_checkpoint, lambda folder, _: resume_checkpoint(folder, seconds=0.0)
    monkeypatch.setattr("lightning_inr.pipelines.fitting.resume_checkpoint", every_epoch)
    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", save)
    stopped = encode(y4m(moving_square()))
    assert (stopped.code, stopped.error) == (130, "error: interrupted; the same command goes on from there")
    assert [path.name for path in Path().iterdir()] == [".clip.linr.fit"]

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", save_whole)
    other = encode(y4m(moving_square().flip(0)))
    assert (other.code, "holds a fit with other settings (dataset.path: " in other.error) == (1, True)
    assert [path.name for path in Path().iterdir()] == [".clip.linr.fit"]

    resumed = encode(y4m(moving_square()))
    assert resumed.code == 0, resumed.err
    epochs = [json.loads(line)["epoch"] for line in resumed.err.splitlines() if '"epoch"' in line]
    assert min(epochs) >= 10
    assert [path.name for path in Path().iterdir()] == ["clip.linr"]


def test_info(command: Command, file: Path) -> None:
    table = command("info", file).out
    size = file.stat().st_size
    assert f"{size:,} bytes" in table
    video = small_model().video
    assert f"{video.frames} frames of {video.width}x{video.height}" in table
    assert json.loads(command("info", file, "--json").out)["bytes"] == size


def test_a_file_beside_conventional_codecs(command: Command, images: Path) -> None:
    model = small_model(video=open_source(str(images)).shape)
    Path("clip.linr").write_bytes(Codec().encode(model))
    compared = command("compare", "clip.linr", images, "--codecs", ",".join(PEERS))
    assert compared.code == 0, compared.err
    rows = [line.split() for line in compared.out.splitlines()[1:-1]]
    assert [row[0] for row in rows] == ["clip.linr", *PEERS]
    for name, psnr, *_, size in rows[1:]:
        assert float(psnr) > 15, name
        [stream] = Path("compared").glob(f"{name}.*")
        assert stream.stat().st_size == int(size.replace(",", ""))
    assert Path("compared/comparison.png").is_file()


def test_a_codec_that_no_ffmpeg_has_is_one_line(
    command: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("clip.linr").write_bytes(Codec().encode(small_model(video=open_source(str(images)).shape)))
    monkeypatch.setattr("lightning_inr.pipelines.reference_codecs.ffmpeg.has", lambda kind, name: False)
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libvvenc"})
    compared = command("compare", "clip.linr", images, "--codecs", "vvc")
    assert compared.code == 1
    assert compared.error.startswith("error: no FFmpeg here has libvvenc; leave it out, or set IMAGEIO_FFMPEG_EXE")
    assert not Path("compared").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode", "clip.linr", "-o", "x.mp4", "--size", "12"], "--size 12: write WIDTHxHEIGHT"),
        (["decode", "none.linr", "-o", "x.mp4"], "bitstream=none.linr: no such file"),
        (["info", "none.linr"], "file=none.linr: no such file"),
        (["encode", "none.mp4", "-o", "x.linr"], "dataset.path=none.mp4: no such file"),
        (["encode", "none.mp4", "-o", "x.linr", "--set", "rankk=3"], "rankk=3: no such option; did you mean rank?"),
        (["encode", "none.mp4", "-o", "x.linr", "--set", "rank"], "--set rank: write NAME=VALUE"),
        (["compare", "clip.linr", "a.mp4", "--codecs", "mpeg1"], "--codecs mpeg1: choose from x265"),
        (["search", "nowhere", "words"], "collection=nowhere"),
        (["collect", "nowhere", "-o", "out"], "dataset.listing.root=nowhere"),
    ],
)
def test_wrong_values_are_one_line(command: Command, file: Path, arguments: list[str], message: str) -> None:
    outcome = command(*arguments)
    assert outcome.code == 1
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == [file.name]


def test_help_and_info_import_no_torch() -> None:

    program = (
        "import sys; from lightning_inr.command.app import app; from lightning_inr.command.info import print_info; "
    )
    subprocess.run([sys.executable, "-c", program + "assert 'torch' not in sys.modules"], check=True)
