"""A log of the fits that were started, for experiments that kill them: `+callbacks.starts._target_=…`."""

import os
import time

import lightning as L


class StartLog(L.Callback):
    """Appends a line to the file `path` for each fit that starts: time, process, and the folder of the fit."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the line in one call, so that lines of several processes do not mix."""
        line = f"{time.time():.3f} {os.getpid()} {os.path.basename(trainer.default_root_dir)}\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line.encode())
        os.close(handle)
