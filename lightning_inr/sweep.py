"""A Hydra callback that writes the report of a sweep, and exits with 1 if a job failed."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lightning_inr.errors import UserError


class SweepReport(Callback):
    """Writes the report after the last job of a sweep, with any launcher."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report on the sweep's folder; exit code 1 if a job failed."""
        folder = Path(config.run_dir or config.hydra.sweep.dir)
        # Imported here: the command line must start without importing torch and matplotlib.
        from lightning_inr.report.runs import find_runs
        from lightning_inr.tasks.report import write_report

        runs, missing = find_runs([folder]) if folder.is_dir() else ([], [])
        try:
            if runs:
                write_report([folder], folder, config.get("logger"))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        if missing:
            # Hydra logs and ignores exceptions of a callback, except SystemExit.
            print(f"error: {len(missing)} of {len(runs) + len(missing)} jobs failed; see {folder}", file=sys.stderr)
            sys.exit(1)
