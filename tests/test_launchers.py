"""Sweeps with launchers of other processes: their jobs run and fail as in one process; searches by Optuna."""

import importlib
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from lightning_inr.errors import UserError
from lightning_inr.pipelines.evaluation import EvaluationRequest, measure_in_new_process
from lightning_inr.sweep import JobProcess
from tests.conftest import SMALL_OVERRIDES, Outcome, write_result

Cli = Callable[..., Outcome]
# Each job fails, before it imports torch: nerv has no rank.
WRONG = ["-m", "experiment=uvg_rd", "model=nerv", "rank=50,100", "run_dir=sweep"]


@pytest.fixture
def _ray_ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Ray's loggers keep the standard error of the test that started it first, which is closed by now.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.mark.usefixtures("_ray_ends")
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_failed_job_is_one_line_in_its_folder_with_any_launcher(cli: Cli, launcher: str) -> None:
    outcome = cli(*WRONG, f"hydra/launcher={launcher}")
    assert outcome.code == 1
    assert "error: 2 of 2 jobs failed; see sweep" in outcome.err
    assert "Traceback" not in outcome.err + "".join(path.read_text() for path in Path.cwd().rglob("*_log.err"))
    reasons = {path.parent.name: path.read_text() for path in Path("sweep").rglob("failed.txt")}
    assert {name: reason.partition(": model=nerv")[0] for name, reason in reasons.items()} == {
        f"experiment-uvg_rd_model-nerv_rank-{rank}": f"rank={rank}" for rank in (50, 100)
    }


def test_a_job_has_the_arguments_and_the_folder_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "-m", "rank=1,2"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    callback = JobProcess()
    callback.on_multirun_start(OmegaConf.create())
    here = Path.cwd()
    sent = pickle.loads(pickle.dumps(callback))
    monkeypatch.setattr(sys, "argv", ["worker", "--node=1"])
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.chdir(tmp_path)
    sent.on_job_start(OmegaConf.create())
    assert (sys.argv[1:], os.environ["OMP_WAIT_POLICY"], Path.cwd()) == (["-m", "rank=1,2"], "PASSIVE", here)


def test_files_are_measured_in_workers_of_joblib() -> None:
    importlib.import_module("joblib.externals.loky.backend.context")  # adds the start method of its workers
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("loky", force=True)
    try:
        with pytest.raises(UserError, match="no such file"):  # from the other process, which could start then
            measure_in_new_process(EvaluationRequest("none.linr", cast(Any, dict), "cpu"))
        assert multiprocessing.get_start_method() == "loky"
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize(
    ("plugin", "options", "package", "extra"),
    [
        ("hydra_ray_launcher.ray_launcher.RayLauncher", "hydra/launcher=ray", "hydra_ray_launcher", "cluster"),
        ("hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "hydra/launcher=joblib", "hydra_joblib_launcher",
         "train"),
    ],
)  # fmt: skip
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, plugin: str, options: str, package: str, extra: str
) -> None:
    monkeypatch.delitem(Plugins.instance().class_name_to_class, f"hydra_plugins.{plugin}")
    outcome = cli(*WRONG, options)
    assert outcome.code == 1
    assert outcome.error.strip() == f"error: {package} is not installed; pip install 'lightning_inr[{extra}]'"


def test_jobs_of_slurm_are_an_array_that_is_queued_again(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without_slurm:
        without_slurm.setattr("shutil.which", lambda name, *_, **__: None)
        assert "this machine has no srun" in cli(*WRONG, "hydra/launcher=submitit_slurm").error
    for name, script in {"srun": "", "sbatch": "cp $1 submitted.sh; echo 'invalid partition' >&2; exit 1"}.items():
        Path(name).write_text(f"#!/bin/sh\n{script}\n")
        Path(name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path.cwd()}:{os.environ['PATH']}")
    options = ["hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90", "hydra.launcher.gpus_per_node=2"]
    outcome = cli(*WRONG, "hydra/launcher=submitit_slurm", *options)
    assert outcome.code == 1
    assert "invalid partition" in outcome.err
    script = Path("submitted.sh").read_text()
    wanted = ("array=0-1%2", "partition=gpu", "time=90", "gpus-per-node=2", "cpus-per-task=4", "mem=16GB",
              "signal=USR2@120", "requeue")  # fmt: skip
    assert all(f"#SBATCH --{option}\n" in script for option in wanted)


def test_a_scheduler_that_stops_a_fit_reads_its_own_exit_code(
    cli: Cli, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise SystemExit(144)  # submitit's, after it has queued the job again

    monkeypatch.setattr("lightning.Trainer.fit", stopped)
    outcome = cli("-m", "dataset=file", f"dataset.path={images}", "run_dir=sweep", *SMALL_OVERRIDES)
    assert outcome.code == 144
    assert "error:" not in outcome.err
    assert not list(Path.cwd().rglob("failed.txt"))


def test_a_job_that_slurm_has_queued_again_waits_for_its_end(
    cli: Cli, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(-signal.SIGTERM, ["scontrol", "requeue", "7_0"])

    def killed(seconds: float) -> None:
        raise SystemExit(137)

    monkeypatch.setattr("lightning.Trainer.fit", stopped)
    monkeypatch.setattr("lightning_inr.run.time.sleep", killed)
    outcome = cli("-m", "dataset=file", f"dataset.path={images}", "run_dir=sweep", *SMALL_OVERRIDES)
    assert outcome.code == 137
    assert not list(Path.cwd().rglob("failed.txt"))


def test_a_search_goes_on_after_failed_jobs_and_repeats_no_choice(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[int, float]] = []

    def fit(cfg: DictConfig) -> dict[str, Any]:
        chosen.append((cfg.rank, cfg.rate_weight))
        if len(chosen) == 2:
            raise MemoryError("no room")
        figures: dict[str, Any] = {"bpp": cfg.rank / 10, "psnr": 30 + cfg.rank - 100 * cfg.rate_weight}
        if not Path(cfg.run_dir).exists():
            write_result(Path(cfg.run_dir), **figures, overrides=[f"rank={cfg.rank}"])
        return figures

    monkeypatch.setattr("lightning_inr.tasks.fit.run", fit)
    search = ["experiment=search_rd", "run_dir=search"]
    assert cli(*search, "hydra.sweeper.n_trials=4").code == 1  # as one job has failed
    assert len(list(Path("search").rglob("failed.txt"))) == 1
    found = yaml.safe_load(Path("search/optimization_results.yaml").read_text())["solutions"]
    front = [each["values"] for each in found]
    assert 1 <= len(front) <= 3
    page = Path("search/report.html").read_text().partition("Best trade-offs")[2].partition("</table>")[0]
    assert page.count("<tr>") == 1 + len(front)
    assert cli(*search, "hydra.sweeper.n_trials=6").code == 0  # the failed job has been repeated
    assert chosen[4:8] == chosen[:4]
    assert len(chosen) == 10
