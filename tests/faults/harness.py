"""Commands that are killed or that find the disk full, and are run again: what is lost, what is left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from lightning_inr.codec import decode
from tests.conftest import moving_square, write_images

SHIM = Path(__file__).with_name("shim.py")
FIT = [
    "dataset=file", "dataset.path=frames", "run_dir=run", "model.width=16", "model.latent_dim=8", "model.hyper_width=8",
    "rank=4", "max_seconds=7", "max_epochs=null", "effort_steps=null", "logger=none",
]  # fmt: skip
COLLECT = [
    "task=collect", "collection=run", "dataset=shapes", "dataset.listing.videos=2", "dataset.frames=4",
    "dataset.listing.root=shapes", "model.width=16", "model.latent_dim=8", "model.hyper_width=8", "rank=4",
    "max_epochs=2", "effort_steps=null", "logger=none",
]  # fmt: skip
LEFT = {
    "fit": {"config.yaml", "video.linr", "result.json", "decoded.mp4", "comparison.png", "training.png"},
    "collect": {
        "collection.parquet", "config.yaml", "failed.txt", "missing.txt", "records", "video0.linr", "video1.linr",
    },
}  # fmt: skip


class Fate(NamedTuple):
    """What became of a command that something happened to, and of the same command run again."""

    command: str
    kind: str
    moment: str
    problem: str | None  # None: nothing is lost


def run(options: Sequence[str], folder: Path, kind: str = "count", number: int = 0) -> "subprocess.Popen[str]":
    """The command in `folder`, in a session of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    temporary = folder.with_name(f"{folder.name}-temporary")
    temporary.mkdir(exist_ok=True)
    environment |= {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, str(SHIM), kind, str(number), *options], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def prepare(folder: Path) -> None:
    """What the commands read."""
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / "frames", moving_square())


def moments(options: Sequence[str], folder: Path) -> int:
    """At how many moments the file system is changed by the command."""
    out, error = run(options, folder).communicate(timeout=300)
    assert "moments: " in out, error
    return int(out.rpartition("moments: ")[2])


def killed(command: str, options: Sequence[str], folder: Path, number: int | float) -> Fate:
    """Kill the command before its `number`-th change, or after so many seconds, and run it again."""
    prepare(folder)
    aimed = isinstance(number, int)
    process = run(options, folder, "kill" if aimed else "count", number if isinstance(number, int) else 0)
    try:
        process.communicate(timeout=300 if aimed else number)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    moment = f"change {number}" if aimed else f"{number:.1f} s"
    problem = None if none_left(process.pid) else "a process is left after 5 s"
    return Fate(command, "kill", moment, problem or again(command, options, folder))


def full(command: str, options: Sequence[str], folder: Path, number: int, kind: str = "full") -> Fate:
    """Let the disk be full from the `number`-th change on, and run it again with room."""
    prepare(folder)
    process = run(options, folder, kind, number)
    _, said = process.communicate(timeout=300)
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip()]
    problem = None
    if process.returncode and (process.returncode != 1 or not lines[-1].startswith("error: ")):
        problem = f"status {process.returncode}, {lines[-1][:150] if lines else 'no line'}"
    if kind == "full_temp" and process.returncode:
        problem = f"ends with the temporary folder full: {lines[-1][:150]}"
    return Fate(command, kind, f"change {number}", problem or again(command, options, folder))


def none_left(session: int) -> bool:
    """Whether no process of the session runs after five seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(_session(each) == session for each in psutil.process_iter()):
            return True
        time.sleep(0.1)
    return False


def _session(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, ProcessLookupError):
        return None


def again(command: str, options: Sequence[str], folder: Path) -> str | None:
    """Run the same command to its end; what is wrong then, None if nothing is."""
    process = run(options, folder)
    _, said = process.communicate(timeout=300)
    if process.returncode:
        return f"the same command ends with {said.strip().splitlines()[-1][:200]}"
    root = folder / "run"
    if command in LEFT:
        if extra := {path.name for path in root.iterdir()} ^ LEFT[command]:
            return f"files that should not be there, or lack: {sorted(extra)}"
        for file in root.glob("*.linr"):
            decode(file.read_bytes())
    if command == "fit":
        result = json.loads((root / "result.json").read_text())
        if not 6.5 <= result["fit_seconds"] <= 17:
            return f"{result['fit_seconds']:.1f} s of fit"
    stray = [path.name for path in folder.rglob(".*") if path.is_file()]
    return f"left behind: {stray}" if stray else None


def chosen(count: int, most: int, seed: int) -> list[int]:
    """`count` moments of `most`, all of them if there are no more."""
    return sorted(random.Random(seed).sample(range(1, most + 1), min(count, most)))
