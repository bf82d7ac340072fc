"""Hydra callbacks of a sweep: its jobs in other processes, and the report and exit code at its end."""

import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lightning_inr.errors import UserError

# Of the command, for jobs on machines that do not get its environment from the launcher.
ENVIRONMENT = ("HYDRA_FULL_ERROR", "LIGHTNING_INR_TRACEBACK", "OMP_WAIT_POLICY")


class JobProcess(Callback):
    """Gives the process of a job the arguments, the environment and the folder of the command.

    Hydra hands its callbacks to every process that a launcher runs jobs in; there, `sys.argv` is the launcher's.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record them in the process of the command."""
        self.arguments = sys.argv[1:]
        self.environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self.folder = Path.cwd()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Set them in the process of a job; a single run is in the process of the command."""
        if hasattr(self, "arguments"):
            sys.argv[1:] = self.arguments
            os.environ.update(self.environment)
            os.chdir(self.folder)


class SweepReport(Callback):
    """Writes the report after the last job of a sweep, with any launcher."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report on the sweep's folder; exit code 1 if a job failed."""
        folder = Path(config.run_dir or config.hydra.sweep.dir)
        # Imported here: the command line must start without importing torch and matplotlib.
        from lightning_inr.report.runs import find_runs
        from lightning_inr.tasks.report import write_report

        logger = config.get("logger")
        if logger is not None and "group" in logger and logger.group is None:
            logger.group = folder.name  # as run.py sets for the jobs
        runs, missing = find_runs([folder]) if folder.is_dir() else ([], [])
        try:
            if runs:
                write_report(runs, missing, folder, logger)
                print(f"{len(runs)} runs, {len(missing)} missing -> {folder / 'report.html'}")
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        if missing:
            # Hydra logs and ignores exceptions of a callback, except SystemExit.
            print(f"error: {len(missing)} of {len(runs) + len(missing)} jobs failed; see {folder}", file=sys.stderr)
            sys.exit(1)
