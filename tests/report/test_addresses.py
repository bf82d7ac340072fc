"""`task=report` on runs behind an address, into a report behind an address."""

import csv
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from lightning_inr.paths import FAILED
from lightning_inr.storage import open_folder
from tests.conftest import Outcome, write_result

Cli = Callable[..., Outcome]


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """The address of a sweep in memory: two finished runs, one with a recall curve, and one that failed."""
    for name, bpp in (("a", 0.1), ("b", 0.2)):
        write_result(tmp_path / "sweep" / name, bpp=bpp, psnr=30 + 10 * bpp, overrides=[f"rank={name}"])
    (tmp_path / "sweep" / "c").mkdir()
    (tmp_path / "sweep" / "c" / FAILED).write_text("rank=500: choose less\n")
    (tmp_path / "sweep" / "a" / "video.linr").write_bytes(b"a" * 1000)  # a report does not read it
    address = f"memory://{tmp_path.name}/sweep"
    fsspec.filesystem("memory").put(f"{tmp_path / 'sweep'}/", address, recursive=True)
    return address


def test_a_report_reads_and_writes_addresses(runs: str, cli: Cli, tmp_path: Path) -> None:
    out = f"memory://{tmp_path.name}/report"
    outcome = cli("task=report", f"runs={runs}/", f"out={out}")
    assert outcome.code == 0, outcome.err
    written = outcome.out
    assert f"2 runs, 1 missing -> {out}/report.html" in written
    assert f"missing: {runs}/c: rank=500: choose less" in written
    folder = open_folder(out, "out")
    rows = list(csv.DictReader(folder.read("runs.csv").decode().splitlines()))
    assert [row["folder"] for row in rows] == [f"{runs}/a", f"{runs}/b"]
    assert b"<svg" in folder.read("report.html")
    assert folder.stamp("rate_distortion_psnr.png") is not None


def test_a_report_is_written_beside_the_first_runs(runs: str, cli: Cli, tmp_path: Path) -> None:
    write_result(tmp_path / "here" / "d", bpp=0.4, psnr=35.0)
    assert cli("task=report", f"runs=[{runs},{tmp_path / 'here'}]").code == 0
    rows = csv.DictReader(open_folder(runs, "out").read("runs.csv").decode().splitlines())
    assert {row["folder"] for row in rows} == {f"{runs}/a", f"{runs}/b", str(tmp_path / "here" / "d")}


def test_an_address_without_runs_is_named(cli: Cli, tmp_path: Path) -> None:
    address = f"memory://{tmp_path.name}/nothing"
    outcome = cli("task=report", f"runs={address}")
    assert outcome.code != 0
    assert f"runs={address}: no result.json there; name the folder of a sweep" in outcome.error
