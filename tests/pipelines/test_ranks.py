"""The number of processes of a fit, their start, and that they end together."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_inr.configuration.fits import run_options
from lightning_inr.errors import UserError
from lightning_inr.option_checks import compose
from lightning_inr.pipelines import ranks
from lightning_inr.pipelines.ranks import RankLostError, Ranks, ranks_of, run_ranks
from tests.conftest import SMALL_OVERRIDES, Outcome

CPU, GPU = torch.device("cpu"), torch.device("cuda")
VARIABLES = ("LOCAL_RANK", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def _one_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of four devices without a scheduler; processes that need not import torch again."""
    monkeypatch.setattr(ranks, "START_METHOD", "fork")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("trainer", "device", "total"),
    [
        ({}, CPU, 1), ({"devices": 2}, CPU, 2), ({"devices": "auto"}, CPU, 1), ({"devices": "auto"}, GPU, 4),
        ({"devices": -1}, GPU, 4), ({"devices": [1, 3]}, GPU, 2), ({"devices": [2]}, GPU, 1),
    ],
)  # fmt: skip
def test_devices_are_counted(trainer: dict[str, Any], device: torch.device, total: int) -> None:
    found = ranks_of(trainer, device)
    assert found.total == total
    assert found.to_start == (total > 1)
    assert found.own == 0


@pytest.mark.parametrize(
    ("trainer", "device", "message"),
    [
        ({"devices": 0}, CPU, "trainer.devices=0: choose a whole number from 1"),
        ({"devices": 9}, CPU, "trainer.devices=9: CPU cores here: 4; choose at most 4"),
        ({"devices": 9}, GPU, "trainer.devices=9: GPUs here: 4; choose at most 4"),
        ({"devices": [0, 4]}, GPU, r"trainer.devices=\[0, 4\]: choose different numbers from 0 to 3"),
        ({"devices": [0, 1]}, CPU, r"trainer.devices=\[0, 1\]: choose a whole number"),
        ({"devices": "two"}, CPU, "trainer.devices=two: choose a whole number"),
        ({"devices": 2, "strategy": "fsdp"}, GPU, "trainer.strategy=fsdp: choose one of auto, ddp"),
        ({"num_nodes": 2}, GPU, "trainer.num_nodes=2: this process is alone; start the command with srun or torchrun"),
        ({"num_nodes": 0}, GPU, "trainer.num_nodes=0: choose a whole number from 1"),
    ],
)
def test_wrong_numbers_of_devices(trainer: dict[str, Any], device: torch.device, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ranks_of(trainer, device)


def test_processes_of_torchrun_and_slurm_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as torchrun:
        started = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}
        for name, value in started.items():
            torchrun.setenv(name, value)
        assert (ranks_of({"devices": 2}, CPU).own, ranks_of({"devices": 2}, CPU).to_start) == (1, False)
        with pytest.raises(UserError, match=r"trainer.devices=3 trainer.num_nodes=1: 2 processes were started"):
            ranks_of({"devices": 3}, CPU)
    started = {
        "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1", "SLURM_JOB_NAME": "fit",
    }  # fmt: skip
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    found = ranks_of({"devices": 2, "num_nodes": 2}, CPU)
    assert (found.total, found.own, found.to_start) == (4, 3, False)
    assert ranks_of({"devices": 1}, CPU) == Ranks()  # tasks that fit videos of their own


def test_rank_zero_gives_the_result_and_the_text(capfd: pytest.CaptureFixture[str]) -> None:
    def function(factor: int) -> int:
        rank = int(os.environ["LOCAL_RANK"])
        print(f"of rank {rank}")
        return factor * (7 + rank)

    assert run_ranks(2, function, 3) == 21
    assert capfd.readouterr().out == "of rank 0\n"


def test_a_killed_process_ends_the_others() -> None:
    def function() -> None:
        if os.environ["LOCAL_RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    with pytest.raises(RankLostError, match=r"process 1 of trainer.devices=2 was killed \(SIGKILL\)"):
        run_ranks(2, function)
    assert not multiprocessing.active_children()


def test_the_cause_is_reported_and_not_what_follows_from_it() -> None:
    def function() -> None:
        if os.environ["LOCAL_RANK"] == "1":
            raise RuntimeError("connection closed by peer")
        time.sleep(0.2)
        raise UserError("rank=0: choose a whole number from 1") from KeyError("a cause")

    with pytest.raises(UserError, match="rank=0: choose") as raised:
        run_ranks(2, function)
    assert isinstance(raised.value.__cause__, KeyError)


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    def function() -> None:
        (tmp_path / os.environ["LOCAL_RANK"]).write_text(str(os.getpid()))
        time.sleep(600)

    parent = multiprocessing.get_context("fork").Process(target=run_ranks, args=(2, function))
    parent.start()
    files = [tmp_path / "0", tmp_path / "1"]
    while not all(file.exists() and file.read_text() for file in files):
        time.sleep(0.05)
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 60
    while any(_runs(int(file.read_text())) for file in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(int(file.read_text())) for file in files)


def _runs(process: int) -> bool:
    """Whether the process runs; one that ended may stay in the table of processes until it is waited for."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_the_options_of_a_run_can_be_sent_to_processes() -> None:
    cfg = compose(["dataset=file", "dataset.path=clip.mp4", "logger=csv", "trainer.devices=2", "preset=small"])
    del cfg.hydra
    options = pickle.loads(pickle.dumps(run_options(cfg)))
    assert type(options.fit.make_callbacks()[0]).__name__ == "Budget"
    assert [type(each).__name__ for each in options.make_loggers(Path("folder"))] == ["CSVLogger"]


def test_a_collection_fits_each_video_on_one_device(cli: Callable[..., Outcome]) -> None:
    outcome = cli("task=collect", "collection=c", "dataset=shapes", "trainer.devices=2", "device=cpu")
    assert outcome.code == 1
    assert "trainer.devices=2: a collection fits each video on one device; start a process" in outcome.error
    assert not Path("c").exists()


def test_a_command_with_a_killed_process_ends_in_one_line(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "lightning_inr.run", "dataset=file", f"dataset.path={images}", f"run_dir={folder}",
        "device=cpu", "trainer.devices=2", "progress=none", *SMALL_OVERRIDES, "max_epochs=null", "max_seconds=600",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    while not (folder / "config.yaml").exists() and process.poll() is None:  # then both processes have met
        time.sleep(0.1)
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    started = [each for each in found if "resource_tracker" not in Path(f"/proc/{each}/cmdline").read_text()]
    os.kill(int(started[1]), signal.SIGKILL)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    assert [line for line in stderr.splitlines() if line.startswith("error: ")] == [
        "error: process 1 of trainer.devices=2 was killed (SIGKILL); "
        f"the same command with run_dir={folder} goes on from its last checkpoint"
    ]
    assert "Traceback" not in stderr
    assert not any(_runs(int(each)) for each in started)
