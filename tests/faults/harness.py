"""Runs commands that are killed, get a full disk or cannot read, and runs them again: lost and leftover files."""

import json
import os
import random
import re
import shutil
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
SMALL = ["model.width=16", "model.latent_dim=8", "model.hyper_width=8", "rank=4", "effort_steps=null", "logger=none"]


class Command(NamedTuple):
    """A command under test, in a folder with `frames` and, if needed, a finished fit in `finished`."""

    name: str
    options: list[str]
    leaves: dict[str, set[str]]  # folder: all that it must hold in the end, and nothing else; empty: must exist
    needs_fit: bool = False


FIT = Command(
    "fit",
    ["dataset=file", "dataset.path=frames", "run_dir=run", "max_seconds=7", "max_epochs=null", *SMALL],
    {"run": {"config.yaml", "video.linr", "result.json", "decoded.mp4", "comparison.png", "training.png"}},
)
COLLECT = Command(
    "collect",
    [
        "task=collect", "collection=run", "dataset=shapes", "dataset.listing.videos=2", "dataset.frames=4",
        "dataset.listing.root=shapes", "max_epochs=2", *SMALL,
    ],
    {"run": {
        "collection.parquet", "config.yaml", "failed.txt", "missing.txt", "records", "video0.linr", "video1.linr",
    }},
)  # fmt: skip
ALIGN = Command(
    "align",
    [
        "task=align", "bitstream=finished/video.linr", "dataset=file", "dataset.path=frames", "video_llm=tiny",
        "video_llm.frames=3", "feature_cache=features", "align.steps=20", "out=aligned.linr",
    ],
    {"aligned.linr": set()},
    needs_fit=True,
)  # fmt: skip
REPORT = Command(
    "report",
    ["task=report", "runs=finished", "out=report"],
    {"report/report.html": set(), "report/runs.csv": set()},
    needs_fit=True,
)
DECODE = Command(
    "decode", ["task=decode", "bitstream=finished/video.linr", "out=out.mp4"], {"out.mp4": set()}, needs_fit=True
)
COMMANDS = (FIT, COLLECT, ALIGN, REPORT, DECODE)


class FaultResult(NamedTuple):
    """The result of a command with a fault, and of the same command run again."""

    command: str
    kind: str
    moment: str
    problem: str | None  # None: nothing is lost


def run(options: Sequence[str], folder: Path, kind: str = "count", number: int = 0) -> "subprocess.Popen[str]":
    """Start the command in `folder`, in its own session."""
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    temporary = folder.with_name(f"{folder.name}-temporary")
    temporary.mkdir(exist_ok=True)
    environment |= {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, str(SHIM), kind, str(number), *options], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def prepare(command: Command, folder: Path) -> None:
    """Write the command's inputs; a fit is run once, next to `folder`, and copied."""
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / "frames", moving_square())
    finished = folder.parent / "finished"
    if command.needs_fit:
        if not finished.exists():
            fit_once(folder, finished)
        shutil.copytree(finished, folder / "finished")


def fit_once(folder: Path, finished: Path) -> None:
    """Run the fit that other commands read, into `finished`."""
    draft = folder / "draft"
    _, error = run([*FIT.options, f"run_dir={draft}", "max_seconds=2"], folder).communicate(timeout=300)
    assert (draft / "result.json").exists(), error
    draft.rename(finished)


def moments(command: Command, folder: Path) -> tuple[int, int]:
    """The numbers of file system changes and of reads by the command."""
    prepare(command, folder)
    out, error = run(command.options, folder).communicate(timeout=300)
    found = re.search(r"changes: (\d+) reads: (\d+)\s*$", out)
    assert found, error
    return int(found[1]), int(found[2])


def killed(command: Command, folder: Path, number: int | float) -> FaultResult:
    """Kill the command before its `number`-th change, or after so many seconds, and run it again."""
    prepare(command, folder)
    aimed = isinstance(number, int)
    process = run(command.options, folder, "kill" if aimed else "count", number if isinstance(number, int) else 0)
    try:
        process.communicate(timeout=300 if aimed else number)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    moment = f"change {number}" if aimed else f"{number:.1f} s"
    problem = None if none_left(process.pid) else "a process is left after 5 s"
    return FaultResult(command.name, "kill", moment, problem or again(command, folder))


def failed(command: Command, folder: Path, number: int, kind: str) -> FaultResult:
    """Run the command with a full disk, or with failing or slow reads, from a moment on; then run it again without."""
    prepare(command, folder)
    process = run(command.options, folder, kind, number)
    _, stderr = process.communicate(timeout=300)
    problem = one_line(process.returncode, stderr)
    if kind in ("full_temp", "slow") and process.returncode:
        problem = f"ends: {stderr.strip()[-150:]}"
    return FaultResult(command.name, kind, f"moment {number}", problem or again(command, folder))


def small_disk(command: Command, folder: Path, number: int) -> FaultResult:
    """Run the command on a real disk with so many free KiB, then again with enough; needs root."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "size=512m", "tmpfs", str(folder))
    try:
        prepare(command, folder)
        used = sum(path.stat().st_blocks * 512 for path in folder.rglob("*")) // 1024
        mount("-o", f"remount,size={used + number}k", str(folder))
        process = run(command.options, folder)
        _, stderr = process.communicate(timeout=300)
        problem = one_line(process.returncode, stderr)
        mount("-o", "remount,size=512m", str(folder))
        return FaultResult(command.name, "small_disk", f"{number} KiB", problem or again(command, folder))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> None:
    """The system's own command; CalledProcessError without root."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def one_line(status: int, stderr: str) -> str | None:
    """The problem with how a command ended; None if it succeeded or ended with one line of its own."""
    lines = [line for line in stderr.replace("\r", "\n").splitlines() if line.strip()]
    if status and (status != 1 or not lines[-1].startswith("error: ") or "Traceback" in stderr):
        return f"status {status}, {lines[-1][:150] if lines else 'no line'}"
    return None


def none_left(session: int) -> bool:
    """Whether all processes of the session end within a minute."""
    deadline = time.monotonic() + 60
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


def again(command: Command, folder: Path) -> str | None:
    """Run the same command to its end; the problem then, None if there is none."""
    process = run(command.options, folder)
    _, stderr = process.communicate(timeout=300)
    if process.returncode:
        return f"the same command ends with {stderr.strip().splitlines()[-1][:200]}"
    for place, content in command.leaves.items():
        path = folder / place
        if not path.exists() or (content and {each.name for each in path.iterdir()} != content):
            here = sorted(each.name for each in path.iterdir()) if path.is_dir() else path.exists()
            return f"{place}: {here}"
    for file in folder.rglob("*.linr"):
        decode(file.read_bytes())
    if command is FIT:
        result = json.loads((folder / "run/result.json").read_text())
        if result["fit_seconds"] < 6.5:
            return f"{result['fit_seconds']:.1f} s of fit"
    stray = [path.name for path in folder.rglob(".*") if path.is_file()]
    return f"left behind: {stray}" if stray else None


def chosen(count: int, most: int, seed: int) -> list[int]:
    """`count` of `most` moments, all of them if there are no more."""
    return sorted(random.Random(seed).sample(range(1, most + 1), min(count, most)))
