"""Small fits through the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_inr.paths import alone_in
from tests.conftest import SMALL_OVERRIDES, Outcome, write_images
from tests.pictures import places, visible_share

Cli = Callable[..., Outcome]

KEYS = {
    "model", "dataset", "frames", "height", "width", "fps", "params", "bytes", "bpp", "psnr", "psnr_mean_mse", "ssim",
    "ms_ssim", "video", "rank", "overrides", "fit_seconds", "encode_seconds", "decode_fps", "device", "seed", "command",
    "version",
}  # fmt: skip


def psnr_from_pngs(folder: Path, source: np.ndarray) -> float:
    """Mean PSNR of PNGs against frames (N, H, W, 3), computed without the package."""
    files = sorted(folder.glob("*.png"))
    assert len(files) == len(source)
    errors = [
        np.mean((np.asarray(Image.open(file)).astype(float) - frame.astype(float)) ** 2)
        for file, frame in zip(files, source, strict=True)
    ]
    return float(np.mean([10 * np.log10(255**2 / error) for error in errors]))


def test_a_fit_writes_a_complete_run_folder(cli: Cli, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    outcome = cli("dataset=file", f"dataset.path={images}", f"run_dir={folder}", "max_epochs=10", *SMALL_OVERRIDES[:4],
                  "max_seconds=null")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert {file.name for file in folder.iterdir()} == {
        "video.linr", "decoded.mp4", "comparison.png", "training.png", "result.json", "config.yaml",
    }  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    assert set(result) >= KEYS
    assert result["bytes"] == (folder / "video.linr").stat().st_size
    assert result["bpp"] == pytest.approx(8 * result["bytes"] / (6 * 48 * 64))
    assert result["ms_ssim"] is None
    assert "176 pixels" in result["ms_ssim_reason"]
    assert result["model"] == "latent_inr_grids"
    assert result["steps"] == 10 * 3  # of two frames each
    assert result["threads"] >= 1
    assert ("unconverged" in result) is not result["converged"]
    assert outcome.out.count("not converged: ") == (not result["converged"])
    for name in ("PSNR", "MS-SSIM", "rate", "file", "fit", "decoding", str(folder)):
        assert name in outcome.out
    assert visible_share(folder / "comparison.png", np.asarray(Image.open(images / "00001.png"))) == 1
    curve = places(folder / "training.png", (31, 119, 180))
    psnr = curve[curve[:, 0] < 0.5]
    assert psnr[psnr[:, 0].argmin(), 1] > psnr[psnr[:, 0].argmax(), 1]  # it rises

    decoded = cli("task=decode", f"bitstream={folder}/video.linr", f"out={tmp_path}/png")
    assert decoded.code == 0, decoded.err
    source = np.stack([np.asarray(Image.open(file)) for file in sorted(images.glob("*.png"))])
    assert psnr_from_pngs(tmp_path / "png", source) == pytest.approx(result["psnr"], abs=0.01)

    measured = cli("task=evaluate", f"bitstream={folder}/video.linr", "dataset=file", f"dataset.path={images}")
    assert json.loads(measured.out)["psnr"] == pytest.approx(result["psnr"], abs=1e-6)


def test_a_finished_fit_is_reused_and_other_options_are_refused(cli: Cli, images: Path, tmp_path: Path) -> None:
    command = ["dataset=file", f"dataset.path={images}", f"run_dir={tmp_path}/run", *SMALL_OVERRIDES]
    assert cli(*command).code == 0
    written = (tmp_path / "run" / "video.linr").stat().st_mtime_ns
    again = cli(*command)
    assert again.code == 0
    assert "holds a finished fit" in again.out
    assert (tmp_path / "run" / "video.linr").stat().st_mtime_ns == written
    other = cli(*command, "rank=3")
    assert other.code == 1
    assert "rank: 4 there, 3 now" in other.error


def test_odd_sides_grey_images_and_one_frame(cli: Cli, tmp_path: Path) -> None:
    import torch

    folder = write_images(tmp_path / "odd", torch.randint(0, 255, (1, 3, 37, 51), dtype=torch.uint8), mode="L")
    outcome = cli("dataset=file", f"dataset.path={folder}", "run_dir=run", *SMALL_OVERRIDES)
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("run/result.json").read_text())
    assert (result["frames"], result["height"], result["width"]) == (1, 37, 51)
    inside = json.loads(cli("task=info", "bitstream=run/video.linr").out)
    assert inside["padded"] == {"height": 40, "width": 60}


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_loggers_get_curves_pictures_and_the_result(cli: Cli, images: Path, tmp_path: Path, logger: str) -> None:
    outcome = cli("dataset=file", f"dataset.path={images}", "run_dir=run", *SMALL_OVERRIDES[:-1], f"logger={logger}")
    assert outcome.code == 0, outcome.err
    if logger == "csv":
        rows = (tmp_path / "run" / "csv" / "metrics.csv").read_text()
        assert "train/psnr" in rows.splitlines()[0]
        assert "result/bpp" in rows.splitlines()[0]
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/psnr", "train/mse", "learning_rate", "result/psnr"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"preview", "comparison"}


def test_a_sweep_gives_each_job_its_folder(cli: Cli, images: Path) -> None:
    overrides = [each for each in SMALL_OVERRIDES if not each.startswith("rank")]
    outcome = cli("-m", "dataset=file", f"dataset.path={images}", "run_dir=sweep", "rank=2,3", *overrides)
    assert outcome.code == 0, outcome.err
    results = [json.loads(file.read_text()) for file in Path("sweep").rglob("result.json")]
    assert len(results) == 2
    assert len({result["params"] for result in results}) == 2


def plain() -> dict[str, str]:
    """The environment as it was before a command line ran in this process."""
    return {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}


def default_interrupts() -> None:
    """The default handling of SIGINT, which background processes of a shell ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin_fit(images: Path, folder: Path) -> tuple[list[str], "subprocess.Popen[str]"]:
    """The command of a fit of 16 s, and its process two seconds after the first checkpoint."""
    options = [each for each in SMALL_OVERRIDES if not each.startswith("max")]
    command = [
        sys.executable, "-m", "lightning_inr.run", "dataset=file", f"dataset.path={images}", f"run_dir={folder}",
        "max_seconds=16", *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=plain(),
        preexec_fn=default_interrupts,
    )
    deadline = time.monotonic() + 120
    while not (folder / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    return command, process


def test_a_killed_fit_is_resumed(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint = folder / "last.ckpt"
    command, process = begin_fit(images, folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    steps = torch.load(checkpoint, weights_only=True)["global_step"]
    assert steps > 0
    assert not (folder / "result.json").exists()

    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    result = json.loads((folder / "result.json").read_text())
    # The budget counts both runs; the last step may take any time on a loaded machine.
    assert result["fit_seconds"] >= 16
    assert result["steps"] > steps
    assert result["psnr"] > 15
    assert not checkpoint.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_fit_in_one_line(images: Path, tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    _, process = begin_fit(images, folder)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=300)
    name = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert process.returncode == 128 + number
    assert stderr.splitlines()[-1] == f"error: {name}; the same command with run_dir={folder} goes on from there"
    assert "Traceback" not in stderr
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "last.ckpt"}


def test_a_run_folder_is_locked_by_one_process(cli: Cli, images: Path) -> None:
    with alone_in(Path("run"), "run_dir"):
        outcome = cli("dataset=file", f"dataset.path={images}", "run_dir=run", *SMALL_OVERRIDES)
    assert outcome.code == 1
    assert "run_dir=run: another process works there; wait or choose another" in outcome.error
    assert not Path("run").exists()  # nothing was written there


def test_a_checkpoint_that_cannot_be_read_is_named(cli: Cli, images: Path) -> None:
    Path("run").mkdir()
    Path("run/last.ckpt").write_bytes(b"PK\x03\x04 cut")
    outcome = cli("dataset=file", f"dataset.path={images}", "run_dir=run", *SMALL_OVERRIDES)
    assert outcome.code == 1
    assert "run/last.ckpt: no checkpoint of a fit" in outcome.error
    assert "remove it, and the fit starts again" in outcome.error
