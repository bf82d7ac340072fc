"""Other methods than Latent-INR through the command line: one size, one codec, one table."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

Cli = Callable[..., Outcome]
SHORT = ["max_epochs=2", "max_seconds=null", "params=300k", "model.strides=[4,2]"]


def test_a_sweep_over_methods_is_one_table_at_one_size(cli: Cli, images: Path) -> None:
    small = [*SHORT, "dataset=file", f"dataset.path={images}"]
    outcome = cli(
        "-m", "experiment=family", "model=nerv_320x180,hnerv_320x180,ff_nerv_320x180", "run_dir=sweep", *small
    )
    assert outcome.code == 0, outcome.err
    rows = {row["model"]: row for row in csv.DictReader(Path("sweep/runs.csv").read_text().splitlines())}
    assert set(rows) == {"nerv_320x180", "hnerv_320x180", "ff_nerv_320x180"}
    for row in rows.values():
        assert float(row["params"]) == pytest.approx(300_000, rel=0.01)
        assert abs(float(row["psnr_unquantised"]) - float(row["psnr"])) < 1
    assert Path("sweep/bytes.svg").exists()
    page = Path("sweep/report.html").read_text()
    assert "embeddings" in page


@pytest.mark.parametrize("model", ["hnerv_320x180", "t_nerv_320x180", "latent_inr_conv"])
def test_every_model_trains_with_the_rate_term(cli: Cli, images: Path, model: str) -> None:
    options = [*SHORT, "dataset=file", f"dataset.path={images}", "callbacks.quantization_aware=null"]
    size = [each for each in options if not each.startswith("model.strides")]
    outcome = cli(
        "experiment=family", "callbacks=entropy_constrained", "rate_weight=1e-3", f"model={model}", "run_dir=run", *size
    )
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("run/result.json").read_text())
    assert result["estimated_bpp"] == pytest.approx(result["bpp"], rel=0.03)
    assert sum(result["role_bytes"].values()) < result["bytes"]
    assert not result["collapsed"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["params=100", "model=nerv_320x180"], "params=100: the smallest nerv for this video holds"),
        (["params=many", "model=nerv_320x180"], "params=many: write a number of parameters as"),
        (["model=hnerv_320x180", "data.window=[16,16]"], "data.window: an encoder reads whole frames"),
        (["model=hnerv_320x180", "module.loss=vgg"], "module.loss=vgg: choose one of mse"),
        (["model=hnerv_320x180", "module.optimizer=lion"], "module.optimizer=lion: choose one of adam"),
        (["model=nerv_320x180", "model.strides=[5,2,2,99]"], "strides=99: choose a whole number from 1 to 16"),
    ],
)
def test_wrong_options_are_errors_of_one_line(cli: Cli, images: Path, options: list[str], line: str) -> None:
    given = {option.split("=")[0] for option in options}
    short = [each for each in SHORT if each.split("=")[0] not in given]
    outcome = cli("experiment=family", "run_dir=run", "dataset=file", f"dataset.path={images}", *short, *options)
    assert outcome.code == 1
    assert line in outcome.error
    assert not Path("run/video.linr").exists()


def test_held_out_frames_of_a_hybrid_model_use_neighbouring_embeddings(cli: Cli, images: Path) -> None:
    outcome = cli(
        "experiment=family", "model=hnerv_320x180", "stride=2", "run_dir=run", "dataset=file", f"dataset.path={images}",
        "dataset.frames=5", *SHORT,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("run/result.json").read_text())
    assert set(result["held_out"]) >= {"psnr", "blend_true", "blend_motion", "blend_decoded", "nearest"}
    assert cli("task=info", "bitstream=run/video.linr").code == 0
