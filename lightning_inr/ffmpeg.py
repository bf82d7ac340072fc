"""The FFmpeg program of imageio-ffmpeg: for encoders and filters that PyAV's own FFmpeg lacks."""

import subprocess
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from lightning_inr.errors import UserError


@cache
def has(kind: str, name: str) -> bool:
    """Whether the FFmpeg program has the encoder or filter `name`; `kind` is "encoder" or "filter"."""
    done = subprocess.run([_program(), "-hide_banner", "-h", f"{kind}={name}"], capture_output=True, text=True)
    return f"{kind} {name}" in done.stdout.lower()


def run_ffmpeg(*arguments: str, folder: Path | None = None) -> None:
    """Run the FFmpeg program in `folder`; UserError with the last line of its stderr if it fails."""
    command = [_program(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UserError(f"ffmpeg: {last}; see {' '.join(arguments)}")


def _program() -> str:
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError(f"ffmpeg: {error}; pip install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE") from error
