"""Decodes a `.linr` file to a video or a folder of PNGs; needs no other file."""

import re
import sys
from typing import Any

from omegaconf import DictConfig

from lightning_inr.codec import read_video
from lightning_inr.data.writer import check_target, write_frames, write_y4m
from lightning_inr.devices import choose_device
from lightning_inr.errors import UserError
from lightning_inr.progress import ProgressBar
from lightning_inr.ranges import FileRanges

STDOUT = "-"


def run(cfg: DictConfig) -> None:
    """Decode the requested frames, and only those."""
    target = None if cfg.out == STDOUT else check_target(cfg.out)
    model = read_video(FileRanges(cfg.bitstream), choose_device(cfg.device))
    frames = parse_frames(cfg.frames, model.video.frames)
    size = parse_size(cfg.size)
    slowdown = parse_slowdown(cfg.slowdown)
    index = frame_positions(frames, slowdown)
    frames_at = model.render(index, size)
    rendered = ProgressBar(frames_at, total=len(index), desc="decode", unit="frame", disable=len(index) < 100)
    first = frames.start + 1 if slowdown == 1 else 1  # PNGs are numbered as the frames of the video
    fps = parse_fps(cfg.fps, model.video.fps)
    if target is None:
        write_y4m(rendered, sys.stdout.buffer, fps)
        return
    write_frames(rendered, target, fps, first)
    print(f"{len(index)} frames -> {target}")


def frame_positions(frames: range, slowdown: int) -> list[float]:
    """Frame positions at `slowdown` times the frame rate, from the first frame to the last."""
    steps = (len(frames) - 1) * slowdown + 1
    return [frames.start + step / slowdown for step in range(steps)]


def parse_frames(text: Any, frames: int) -> range:
    """`10:20` (the end is not included), `70`, or null for all; UserError beyond the video."""
    if text is None:
        return range(frames)
    match = re.fullmatch(r"(\d*)(:?)(\d*)", str(text))
    if match is None or not (match[1] or match[2]):
        raise UserError(f"frames={text}: give FIRST:END, as in frames=10:20")
    first = int(match[1] or 0)
    end = (int(match[3]) if match[3] else frames) if match[2] else first + 1
    if not first < end <= frames:
        raise UserError(f"frames={text}: this video has frames 0:{frames}")
    return range(first, end)


def parse_size(text: Any) -> tuple[int, int] | None:
    """`720x1280`, height first, or null for the native size."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", str(text))
    if match is None or not all(1 <= int(side) <= 2**14 for side in match.groups()):
        raise UserError(f"size={text}: give HEIGHTxWIDTH up to {2**14} a side, as in size=720x1280")
    return int(match[1]), int(match[2])


def parse_fps(value: Any, own: float) -> float:
    """Frame rate of the written video; null: that of the file, `own`."""
    if value is None:
        return own
    if not isinstance(value, int | float) or not 0.1 <= value <= 1000:
        raise UserError(f"fps={value}: give a number from 0.1 to 1000")
    return float(value)


def parse_slowdown(value: Any) -> int:
    """Number of rendered frames per frame of the video."""
    if not isinstance(value, int) or not 1 <= value <= 1000:
        raise UserError(f"slowdown={value}: give a whole number from 1 to 1000")
    return value
