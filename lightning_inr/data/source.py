"""What a video is to the rest of the house: frames by number. No source holds the whole video."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.types import VideoShape


class VideoSource(ABC):
    """Frames by number, all of one size."""

    frames: int
    height: int
    width: int
    fps: float

    @property
    def shape(self) -> VideoShape:
        """What a model is built for."""
        return VideoShape(self.frames, self.height, self.width, self.fps)

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""


class Adapted(VideoSource):
    """Another source cut to its first `frames` and resized: by area when smaller, bicubic when larger."""

    def __init__(self, source: VideoSource, frames: int | None, height: int | None, width: int | None) -> None:
        self.source, self.fps = source, source.fps
        for name, value in (("frames", frames), ("height", height), ("width", width)):
            if value is not None and value < 1:
                raise UserError(f"dataset.{name}={value}: choose a whole number from 1")
        if frames is not None and frames > source.frames:
            raise UserError(f"dataset.frames={frames}: the video has {source.frames} frames; ask for no more")
        self.frames = frames or source.frames
        self.height = height or (round(source.height * width / source.width) if width else source.height) or 1
        self.width = width or (round(source.width * height / source.height) if height else source.width) or 1

    def read(self, index: int) -> Tensor:
        """Frame `index` as RGB (3, height, width) uint8."""
        return resize(self.source.read(index), (self.height, self.width))


def resize(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) uint8 -> (3, *size) uint8: by area where the frame shrinks, bicubic where it grows."""
    if tuple(frame.shape[1:]) == size:
        return frame
    shrinks = size[0] <= frame.shape[1] and size[1] <= frame.shape[2]
    pixels = frame[None].float()
    if shrinks:
        resized = F.interpolate(pixels, size, mode="area")
    else:
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True)
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)
