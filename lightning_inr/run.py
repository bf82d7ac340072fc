"""The door: reads the wish, calls its task, and says in one line what is wrong with it.

python -m lightning_inr.run [-m] [task=fit|decode|evaluate|info] [option=value …]
"""

import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from lightning_inr.errors import UserError
from lightning_inr.paths import config_dir

TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


def main() -> None:
    """Run the command line."""
    # Hydra would print its own errors over several lines; this hands them to us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with one_line_errors():
        door()


@hydra.main(version_base="1.3", config_path=config_dir(), config_name="config")
def door(cfg: DictConfig) -> None:
    """One job: one task with one configuration."""
    with one_line_errors():
        cfg.run_dir = run_folder(cfg)
        # Only now, so that a wrong wish is answered before torch is imported.
        importlib.import_module(f"lightning_inr.tasks.{cfg.task}").run(cfg)


def run_folder(cfg: DictConfig) -> str:
    """Where this job leaves its results; the jobs of a sweep never share a folder."""
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        return os.path.join(cfg.run_dir, job.job.override_dirname) if cfg.run_dir else job.runtime.output_dir
    name = "{dataset}-{model}".format(**job.runtime.choices)
    return cfg.run_dir or os.path.join("runs", name, time.strftime("%Y-%m-%d_%H-%M-%S"))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What the user can mend ends in one line and exit code 1; HYDRA_FULL_ERROR=1 shows the traceback."""
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if TRACEBACK or (isinstance(error, InstantiationException) and not _is_users(error.__cause__)):
            raise
        print(f"error: {_line(error)}", file=sys.stderr)
        sys.exit(1)


def _is_users(cause: BaseException | None) -> bool:
    """Whether what an `instantiate` stumbled over is a value the user gave."""
    return isinstance(cause, ValueError | TypeError | OmegaConfBaseException)


def _line(error: BaseException) -> str:
    if isinstance(error, MissingMandatoryValue):
        option = str(error).splitlines()[0].removeprefix("Missing mandatory value: ")
        return f"{option} has no value; add {option}=… to the command"
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2])


if __name__ == "__main__":
    main()
