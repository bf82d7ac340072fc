"""A fit of an uploaded video in a process of its own, whose progress can be read, and which can be stopped."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lightning_inr.demo.options import UploadLimits
from lightning_inr.demo.upload import UploadedVideo, take_upload
from lightning_inr.errors import UserError

ERROR = "error: "  # begins the line in which a fit says why it failed
START_SECONDS = 120  # allowed for imports and reading, beside twice the seconds of the fit
UPDATE_SECONDS = 1.0


class FitRequest(NamedTuple):
    """What the visitor chose."""

    bpp: float
    effort: str
    height: int  # pixels; frames are not enlarged


class FitProgress(NamedTuple):
    """A fit while it runs."""

    stage: str
    share: float | None  # done, 0 to 1; None: not known
    curve: list[tuple[float, float]]  # seconds, PSNR
    figures: dict[str, float]
    picture: bytes | None  # JPEG


class FitProcess:
    """A fit of one video, started by the constructor; `close` ends it in any state and removes its folder."""

    def __init__(self, video: UploadedVideo, request: FitRequest, limits: UploadLimits) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="linr-fit-"))
        self.name, self.limits = video.name, limits
        self.curve: list[tuple[float, float]] = []
        self.error = ""
        try:
            self.source = take_upload(video, self.folder)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lightning_inr.demo.watched", *self._options(video, request)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
                start_new_session=True, cwd=self.folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read_lines, daemon=True).start()

    def progress(self) -> Iterator[FitProgress]:
        """Yield the state about once a second until the fit ends; UserError if it fails or takes too long."""
        ends = time.monotonic() + 2 * self.limits.seconds + START_SECONDS
        stage, share, figures, ended = "start", None, dict[str, float](), False
        while not ended:
            ended, latest = self._next_lines()
            for line in latest:
                stage, share = str(line["stage"]), line["done"] / line["total"] if line["total"] else None
                figures = {name: value for name, value in line.items() if isinstance(value, float)}
                if stage == "fit" and "psnr" in line:
                    self.curve.append((line["seconds"], line["psnr"]))
            yield FitProgress(stage, share, self.curve, figures, self._picture())
            if time.monotonic() > ends:
                raise UserError(
                    f"{self.name}: it took more than {2 * self.limits.seconds:.0f} s; choose less effort or height"
                )
        if self.process.wait():
            reason = self.error.replace(str(self.source), self.name).replace(str(self.folder), "")
            raise UserError(reason or f"{self.name}: the fit ended with code {self.process.returncode}; try it again")

    def result(self) -> tuple[Path, dict[str, Any]]:
        """The file and its figures."""
        return self.folder / "run" / "video.linr", json.loads((self.folder / "run" / "result.json").read_text())

    def kill(self) -> None:
        """End the process with all that it started; `progress` then raises UserError."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """`kill`, and remove the folder."""
        self.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _options(self, video: UploadedVideo, request: FitRequest) -> list[str]:
        return [
            "dataset=file", f"dataset.path={self.source}", f"dataset.height={min(request.height, video.height)}",
            f"dataset.most_frames={self.limits.frames}", f"run_dir={self.folder / 'run'}", "progress=json",
            f"bpp={float(request.bpp)}", f"effort={request.effort}", f"max_seconds={float(self.limits.seconds)}",
            "+callbacks.preview_file._target_=lightning_inr.demo.preview.PreviewFile",
            f"+callbacks.preview_file.path={self.folder / 'preview.jpg'}",
        ]  # fmt: skip

    def _read_lines(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(line)
        self.lines.put(None)

    def _next_lines(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether the fit has ended, and the lines of progress of the next UPDATE_SECONDS."""
        latest: list[dict[str, Any]] = []
        ends = time.monotonic() + UPDATE_SECONDS
        with suppress(queue.Empty):
            while (left := ends - time.monotonic()) > 0:
                line = self.lines.get(timeout=left)
                if line is None:
                    return True, latest
                if line.startswith(ERROR):
                    self.error = line.removeprefix(ERROR).strip()
                elif line.startswith("{"):
                    with suppress(ValueError):
                        latest.append(json.loads(line))
        return False, latest

    def _picture(self) -> bytes | None:
        with suppress(OSError):
            return (self.folder / "preview.jpg").read_bytes()
        return None
