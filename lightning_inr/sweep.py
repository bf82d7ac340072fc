"""What ends a sweep: its report, and an honest exit code."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lightning_inr.errors import UserError


class SweepReport(Callback):
    """Called by Hydra after the last job, whatever launcher ran them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's folder; exit code 1 if a job failed."""
        folder = Path(config.run_dir or config.hydra.sweep.dir)
        # Only now: the door opens without torch and matplotlib.
        from lightning_inr.report.runs import collect
        from lightning_inr.tasks.report import write_report

        runs, missing = collect([folder]) if folder.is_dir() else ([], [])
        try:
            if runs:
                write_report([folder], folder, config.get("logger"))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        if missing:
            # Hydra swallows what a callback raises, but not this.
            print(f"error: {len(missing)} of {len(runs) + len(missing)} jobs failed; see {folder}", file=sys.stderr)
            sys.exit(1)
