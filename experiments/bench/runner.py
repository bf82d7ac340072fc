"""Runs fits and reference encodings as processes of one thread each; finished ones are not repeated."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from plan import REPOSITORY, Fit, clip_options, in_repository

from lightning_inr.paths import FAILED, config_dir, write_text

COMMAND = [sys.executable, "-m", "lightning_inr.run"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LONGEST = 1800.0  # seconds beyond the fit itself: start, encoding, measuring


def run_fits(fits: Sequence[Fit], seconds: float, jobs: int) -> int:
    """Run those without a result, `jobs` in parallel, and print a line for each; returns the number of failures."""
    for fit in fits:
        if fit.is_stale:
            print(f"older settings: {fit.folder}; remove it to fit it again")
    waiting = [fit for fit in fits if fit.result is None]
    print(f"{len(fits) - len(waiting)} of {len(fits)} fits are there, {len(waiting)} to do", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda fit: run_fit(fit, seconds), waiting)
        failed = 0
        for number, (fit, (reason, took)) in enumerate(zip(waiting, outcomes, strict=True), start=1):
            failed += reason is not None
            print(f"[{number}/{len(waiting)}] {fit.folder}: {reason or f'{took:.0f} s'}", flush=True)
    return failed


def run_fit(fit: Fit, seconds: float) -> tuple[str | None, float]:
    """Run one fit; returns the reason of a failure, or None, and the seconds. failed.txt holds the reason."""
    start = time.perf_counter()
    reason = run_command(fit.options, seconds + LONGEST)
    if reason is None and fit.result is None:
        reason = "it ended without a result.json"
    if reason is None:
        (fit.folder / FAILED).unlink(missing_ok=True)
    else:
        write_text(fit.folder / FAILED, reason + "\n")
    return reason, time.perf_counter() - start


def run_command(options: Sequence[str], longest: float) -> str | None:
    """Run `python -m lightning_inr.run` with `options`; the last line of stderr, None if it succeeded."""
    try:
        done = subprocess.run(
            [*COMMAND, *options], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=longest
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {longest:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("error:")] or lines
    return named[-1] if named else f"status {done.returncode}"


def run_references(clips: Sequence[str], out: Path) -> int:
    """Encode each clip with the conventional codecs, one by one; returns the number of clips that failed."""
    failed = 0
    for clip in clips:
        folder = reference_folder(clip, out)
        if all((folder / point / "result.json").exists() for point in reference_points()):
            continue
        target = f"run_dir={in_repository(folder)}"
        reason = run_command(["task=reference_codecs", *clip_options(clip), target, "logger=none"], 8 * LONGEST)
        failed += reason is not None
        print(f"references of {clip}: {reason or folder}", flush=True)
    return failed


def reference_folder(clip: str, out: Path) -> Path:
    """The folder of the conventional codecs' files of a clip."""
    return out / "references" / clip


def reference_points() -> list[str]:
    """The folders that task=reference_codecs writes."""
    peers = yaml.safe_load((Path(config_dir()) / "task" / "reference_codecs.yaml").read_text())["peers"]
    return [f"{name}-crf{crf}" for name, peer in peers.items() for crf in peer["crf"]]
