"""Uncompressed planar video: `.yuv`, which has no header, and `.y4m`, which has one."""

import math
import re
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_inr.data.colour import rgb_from_planes
from lightning_inr.data.sources.source import VideoSource
from lightning_inr.errors import UserError
from lightning_inr.types import LONGEST_SIDE

CHROMA_STEPS = {"420": 2, "420jpeg": 2, "420mpeg2": 2, "420paldv": 2, "444": 1}  # of the pixel formats of .y4m


class RawVideo(VideoSource):
    """8-bit planar: 4:2:0 in `.yuv` without a header (size from the name, as in `Beauty_1920x1080_120fps.yuv`), 4:2:0
    or 4:4:4 in `.y4m`."""

    def __init__(self, path: Path, matrix: str) -> None:
        self.path, self.name, self.matrix = path, path.stem, matrix
        step = 2  # pixels for each value of chroma, in both directions
        if path.suffix.lower() == ".y4m":
            self.width, self.height, self.fps, self.start, self.marker, step = self._y4m_header(path)
        else:
            named = re.search(r"(\d+)x(\d+)", path.stem)
            if named is None:
                raise UserError(f"{path}: raw video has no header with its size; put WIDTHxHEIGHT into its name")
            self.width, self.height = int(named[1]), int(named[2])
            rate = re.search(r"_(\d+)(?:fps)?(?:_|$)", path.stem)
            self.fps, self.start, self.marker = float(rate[1]) if rate else 25.0, 0, 0
        if not (1 <= self.width <= LONGEST_SIDE and 1 <= self.height <= LONGEST_SIDE):
            raise UserError(f"{path}: frames of {self.width}x{self.height}; sides are from 1 to {LONGEST_SIDE} pixels")
        # The chroma planes of odd sizes are rounded up, as in FFmpeg.
        self.chroma = (-(-self.height // step), -(-self.width // step))
        self.frame_bytes = self.height * self.width + 2 * math.prod(self.chroma)
        length = path.stat().st_size - self.start
        self.frames, rest = divmod(length, self.marker + self.frame_bytes)
        if self.frames == 0:
            raise UserError(f"{path}: {length} bytes hold no frame of {self.width}x{self.height}; check the size")
        if rest and not self.marker:
            raise UserError(
                f"{path}: {length} bytes are not whole frames of {self.width}x{self.height} 4:2:0; check the size"
            )
        if rest:
            warnings.warn(
                f"{path} is cut: {self.frames} whole frames are used, {rest} bytes are left out", stacklevel=2
            )

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8, converted with `matrix`."""
        with self.path.open("rb") as file:
            file.seek(self.start + index * (self.marker + self.frame_bytes) + self.marker)
            data = np.fromfile(file, np.uint8, self.frame_bytes)
        luma, chroma = self.height * self.width, math.prod(self.chroma)
        planes = torch.from_numpy(data).split([luma, chroma, chroma])
        y = planes[0].view(self.height, self.width)
        return rgb_from_planes(y, planes[1].view(self.chroma), planes[2].view(self.chroma), self.matrix)

    @staticmethod
    def _y4m_header(path: Path) -> tuple[int, int, float, int, int, int]:
        """Width, height, fps, offset of the first frame in bytes, bytes of a frame's marker line, step of chroma."""
        with path.open("rb") as file:
            line, first = file.readline(4096), file.readline(4096)
        tokens = line.split()
        if not tokens or tokens[0] != b"YUV4MPEG2" or not first.startswith(b"FRAME") or not first.endswith(b"\n"):
            raise UserError(f"{path}: not a YUV4MPEG2 file; convert it with FFmpeg")
        values = {token[:1].decode("latin1"): token[1:].decode("latin1") for token in tokens[1:]}
        step = CHROMA_STEPS.get(values.get("C", "420jpeg"))
        if step is None:
            raise UserError(f"{path}: pixel format C{values['C']}; 8-bit 4:2:0 and 4:4:4 are read, convert with FFmpeg")
        try:
            rate = Fraction(values.get("F", "25:1").replace(":", "/"))
            return int(values["W"]), int(values["H"]), float(rate), len(line), len(first), step
        except (KeyError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise UserError(f"{path}: damaged YUV4MPEG2 header {line[:60]!r}; convert it with FFmpeg") from error
