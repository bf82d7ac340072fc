"""Small sweeps, reports, reference codecs and tasks of the paper's figures through the command line."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_inr.codec import Codec
from lightning_inr.data.writer import Encoding, encode_video
from lightning_inr.pipelines.reference_codecs import decode_stream
from lightning_inr.types import VideoShape
from tests.conftest import SMALL_OVERRIDES, Outcome, moving_square, small_model, write_images, write_result, write_yuv
from tests.pictures import places, read_picture, visible_share

Cli = Callable[..., Outcome]
WITHOUT_RANK = [each for each in SMALL_OVERRIDES if not each.startswith("rank")]


def test_a_sweep_ends_with_a_report_and_continues_after_a_failed_job(cli: Cli, images: Path) -> None:
    command = ["-m", "dataset=file", f"dataset.path={images}", "run_dir=sweep", "rank=2,99,4", *WITHOUT_RANK]
    outcome = cli(*command)
    assert outcome.code == 1
    assert "error: rank=99: choose a whole number from 1 to 16" in outcome.err
    assert "error: 1 of 3 jobs failed; see sweep" in outcome.err
    page = Path("sweep/report.html").read_text()
    assert "rank=99: choose a whole number" in page
    rows = list(csv.DictReader(Path("sweep/runs.csv").read_text().splitlines()))
    assert sorted(row["setting"] for row in rows) == ["rank=2", "rank=4"]
    assert {row["video"] for row in rows} == {"images"}
    assert Path("sweep/rate_distortion_psnr.svg").exists()

    again = cli(*[each.replace("2,99,4", "2,4") for each in command], "dataset.fps=null")
    assert again.code == 1  # the folder of rank 99 is still there, and still failed
    assert "missing: " in again.out


def test_an_interruption_ends_the_whole_sweep(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def interrupted(cfg: object) -> None:
        started.append(cfg)
        raise KeyboardInterrupt("the same command goes on")

    monkeypatch.setattr("lightning_inr.tasks.info.run", interrupted)
    outcome = cli("-m", "task=info", "bitstream=a.linr,b.linr", "run_dir=sweep")
    assert (outcome.code, len(started)) == (130, 1)
    assert "interrupted; the same command goes on" in outcome.error
    assert not Path("sweep").exists()


def test_a_sweep_in_weights_and_biases(cli: Cli, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import wandb

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    recorded: list[dict[str, object]] = []
    groups: list[object] = []
    init, log = wandb.init, wandb.sdk.wandb_run.Run.log

    def recording_init(*args: Any, **options: Any) -> object:
        groups.append(options.get("group"))
        return init(*args, **options)

    def recording_log(run: Any, data: dict[str, object], *args: Any, **options: Any) -> None:
        recorded.append(data)
        log(run, data, *args, **options)

    monkeypatch.setattr(wandb, "init", recording_init)
    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", recording_log)
    overrides = [each for each in WITHOUT_RANK if not each.startswith("logger")]
    overrides += ["logger=wandb", "dataset=file", f"dataset.path={images}"]
    outcome = cli("-m", "run_dir=sweep", "rank=2,4", *overrides)
    assert outcome.code == 0, outcome.err
    assert groups[:2] == ["sweep", "sweep"]
    charts = {name: value for data in recorded for name, value in data.items()}
    assert type(charts["rate_distortion/psnr/images"]).__name__ == "CustomChart"
    assert isinstance(charts["points/psnr"], wandb.Table)
    assert len(charts["points/psnr"].data) == 2
    assert len(list(Path("sweep").glob("*/wandb/offline-run-*"))) == 2
    assert len(list(Path("sweep").glob("wandb/offline-run-*"))) == 1


def test_the_papers_sweep_over_uvg(cli: Cli, tmp_path: Path) -> None:
    for name in ("Beauty", "Jockey"):
        write_yuv(tmp_path / "UVG" / f"{name}_64x48_120fps_420_8bit_YUV.yuv", moving_square(3))
    small = ["model.width=16", "model.latent_dim=8", "model.hyper_width=8", "model.encoding.log2_entries=6"]
    small += ["max_epochs=1", "run_dir=sweep", f"dataset.root={tmp_path}/UVG"]
    outcome = cli("-m", "experiment=uvg_rd", "rank=2,8", "dataset.sequence=Beauty,Jockey", *small)
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader(Path("sweep/runs.csv").read_text().splitlines()))
    assert {(row["video"], row["rank"], row["method"]) for row in rows} == {
        (video, rank, "latent_inr") for video in ("Beauty", "Jockey") for rank in ("2", "8")
    }
    results = [json.loads(file.read_text()) for file in Path("sweep").rglob("result.json")]
    assert {result["matrix"] for result in results} == {"bt601"}
    assert {(result["frames"], result["height"], result["width"]) for result in results} == {(3, 48, 64)}
    assert "mean of all videos" in Path("sweep/report.html").read_text()


def test_an_experiment_that_defines_its_sweep(cli: Cli, images: Path) -> None:
    overrides = [each for each in SMALL_OVERRIDES if not each.startswith("max")]
    overrides += ["dataset=file", f"dataset.path={images}", "max_epochs=1"]
    outcome = cli("experiment=ablation_coder", "run_dir=sweep", *overrides)
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader(Path("sweep/runs.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {
        "latent_inr_conv codec.coder=range", "latent_inr_conv codec.coder=huffman",
    }  # fmt: skip
    assert len({row["psnr"] for row in rows}) == 1  # the same network, coded twice


def test_a_report_of_200_runs(cli: Cli, tmp_path: Path) -> None:
    for number in range(200):
        rank, video = 50 * (1 + number % 5), f"video{number // 20}"
        model = "latent_inr" if number % 20 < 10 else "nerv"
        figures = {"model": model, "video": video, "bpp": rank / 1000, "psnr": 30 + rank / 50, "ms_ssim": 0.9}
        write_result(tmp_path / "runs" / str(number), overrides=[f"rank={rank}", f"seed={number % 2}"], **figures)
    outcome = cli("task=report", "runs=runs", "out=report")
    assert outcome.code == 0, outcome.err
    assert len(Path("report/runs.csv").read_text().splitlines()) == 201


def test_a_report_of_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "runs=empty: no result.json there" in cli("task=report", "runs=empty").error
    assert "runs=nowhere: no such file or folder" in cli("task=report", "runs=nowhere").error


def test_conventional_codecs_are_measured_from_their_files(cli: Cli, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", moving_square(5, 37, 51))  # odd sides
    command = ["task=reference_codecs", "dataset=file", f"dataset.path={folder}", "run_dir=peers"]
    crf = ["peers.x265_veryslow.crf=[20]", "peers.x265_medium.crf=[20,40]", "peers.x264_medium.crf=[20]",
           "peers.svt_av1.crf=[30]", "peers.vvenc_medium.crf=[25]"]  # fmt: skip
    outcome = cli(*command, *crf)
    assert outcome.code == 0, outcome.err
    results = {file.parent.name: json.loads(file.read_text()) for file in Path("peers").rglob("result.json")}
    assert len(results) == 6
    for name, result in results.items():
        assert result["vmaf"] > 0
        (stream,) = Path("peers", name).glob("video.*")
        assert result["bytes"] == stream.stat().st_size
        decoded = np.stack([frame[:, :37, :51].numpy() for frame in decode_stream(stream)]).astype(float)
        mse = np.mean((decoded - moving_square(5, 37, 51).numpy()) ** 2, axis=(1, 2, 3))
        assert result["psnr"] == pytest.approx(np.mean(10 * np.log10(255**2 / mse)), abs=0.01)
    assert results["x265_medium-crf20"]["psnr"] > results["x265_medium-crf40"]["psnr"]
    written = Path("peers/svt_av1-crf30/result.json").stat().st_mtime_ns
    assert cli(*command, *crf).code == 0
    assert Path("peers/svt_av1-crf30/result.json").stat().st_mtime_ns == written


def test_a_missing_encoder(cli: Cli, images: Path) -> None:
    outcome = cli("task=reference_codecs", "dataset=file", f"dataset.path={images}", "run_dir=peers",
                  "peers.x265_veryslow.codec=libnothing")  # fmt: skip
    assert outcome.code == 1
    assert "libnothing cannot encode this" in outcome.error


def test_evaluation_measures_vmaf_on_request(cli: Cli, images: Path) -> None:
    Path("video.linr").write_bytes(Codec().encode(small_model(video=VideoShape(6, 48, 64, 25.0))))
    command = ["task=evaluate", "bitstream=video.linr", "dataset=file", f"dataset.path={images}"]
    assert "vmaf" not in json.loads(cli(*command).out)
    assert json.loads(cli(*command, "vmaf=true").out)["vmaf"] >= 0


def test_a_raw_stream_gives_back_every_frame_in_order(tmp_path: Path) -> None:
    video = torch.stack([torch.full((3, 32, 32), 20 * n, dtype=torch.uint8) for n in range(10)])
    encode_video(video, tmp_path / "v.hevc", 25, Encoding("libx265", {"crf": "10", "x265-params": "log-level=none"}))
    levels = [float(frame.float().mean()) for frame in decode_stream(tmp_path / "v.hevc")]
    assert levels == pytest.approx([20 * n for n in range(10)], abs=3)


def test_one_file_at_several_sizes(cli: Cli, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", moving_square(4, 96, 128))
    Path("video.linr").write_bytes(Codec().encode(small_model(video=VideoShape(4, 48, 64, 25.0))))
    options = ["dataset=file", f"dataset.path={folder}", "dataset.height=48", "run_dir=sizes"]
    outcome = cli("experiment=any_resolution", "bitstream=video.linr", *options)
    assert outcome.code == 0, outcome.err
    rows = {row["factor"]: row for row in json.loads(Path("sizes/any_resolution.json").read_text())}
    assert [row["height"] for row in rows.values()] == [12, 24, 48, 96, 192]
    assert rows[4.0]["psnr"] is None  # no truth of that size
    assert rows[0.5]["psnr"] == pytest.approx(rows[0.5]["psnr_resized"], abs=0.3)
    assert all(row["fps"] > 0 for row in rows.values())
    assert rows[2.0]["x265_fps"] > 0
    assert {file.name for file in Path("sizes").iterdir()} == {
        "any_resolution.json", "any_resolution.png", "crop_2x.png",
    }  # fmt: skip


def test_interpolation_is_measured_with_its_baselines(cli: Cli, images: Path) -> None:
    overrides = [each for each in SMALL_OVERRIDES if not each.startswith("max")]
    outcome = cli("experiment=interpolation", "dataset=file", f"dataset.path={images}", "run_dir=run", "max_epochs=2",
                  "max_seconds=null", *overrides)  # fmt: skip
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("run/result.json").read_text())
    assert result["frames"] == 5  # the sixth lies between no two training frames
    names = {"psnr", "blend_true", "blend_motion", "blend_decoded", "nearest"}
    assert set(result["held_out"]) == names | {f"{name}_mean_mse" for name in names}
    assert visible_share("run/strip.png", read_picture(images / "00004.png")) == 1
    assert "held out" in outcome.out
    measured = cli("task=evaluate", "bitstream=run/video.linr", "dataset=file", f"dataset.path={images}")
    assert json.loads(measured.out)["held_out"] == pytest.approx(result["held_out"])
    assert "stride=6: the video has 6 frames; choose 1 to 5" in cli(
        "dataset=file", f"dataset.path={images}", "stride=6", "run_dir=other").error  # fmt: skip


def test_latents_are_plotted(cli: Cli) -> None:
    for name in ("a", "b"):
        Path(f"{name}.linr").write_bytes(Codec().encode(small_model(video=VideoShape(20, 22, 30, 25.0))))
    outcome = cli("task=plot_latents", "bitstreams=[a.linr,b.linr]", "out=latents")
    assert outcome.code == 0, outcome.err
    assert set(json.loads(outcome.out)) == {"a", "b"}
    for first_or_last in ((68, 1, 84), (253, 231, 37)):  # the ends of viridis
        dots = places("latents/latents.png", first_or_last)[:, 0]
        assert (dots < 0.4).any()  # a panel a file
        assert ((dots > 0.5) & (dots < 0.9)).any()
    Path("n.linr").write_bytes(Codec().encode(small_model("nerv")))
    assert "NeRV has no latents" in cli("task=plot_latents", "bitstreams=n.linr").error


def test_jobs_of_a_sweep_are_spread_over_gpus(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.linr").write_bytes(Codec().encode(small_model()))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # so that the end of the test undoes what the sweep sets
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    recorded: list[str | None] = []
    monkeypatch.setattr(
        "lightning_inr.tasks.info.run", lambda cfg: recorded.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
    )
    cli("-m", "task=info", "bitstream=a.linr", "seed=1,2", "run_dir=sweep")
    assert recorded == [None, None]
    cli("-m", "task=info", "bitstream=a.linr", "seed=1,2", "run_dir=sweep", "gpus=4")
    assert recorded[2:] == ["0", "0"]  # one process keeps its first GPU
