"""Targets for the file of a fit, a size in bits per pixel or a quality in dB: they control the rate weight."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from lightning_inr.codec import decode
from lightning_inr.data.module import Frames
from lightning_inr.errors import UserError
from lightning_inr.metrics import mean_psnr_of_pairs
from lightning_inr.models.base import VideoRepresentation

SETTLED = 0.15  # share of the budget before which a file does not predict the final one
TREND = 0.15  # share of the budget over which the trend is measured
MOST_EXCESS = 1.1  # of a size; a file between this and its inverse has the size that was asked for
FRAMES_MEASURED = 8  # evenly spaced training frames at most, on which the quality is measured


class Measurement(NamedTuple):
    """A file that was encoded during the fit."""

    spent: float  # share of the budget, 0 to 1
    value: float  # in the unit of the target


class Dynamics(NamedTuple):
    """How the value of a target changes in a fit; measured on two clips (experiments/bench/LOG.md)."""

    per_doubling: float  # lost by twice the rate weight, at the end of a fit
    trends: tuple[float, float, float]  # change over a whole budget: least, usual at a constant rate weight, most
    following: float  # the share of a needed change that is made per share of the budget; faster ones overshoot


class FileTarget(ABC):
    """What the file is to reach. `history`: the files so far; a resumed fit gives those before the interruption."""

    dynamics: ClassVar[Dynamics]
    goal: float

    def __init__(self, history: list[Measurement]) -> None:
        self.history = history

    @abstractmethod
    def measure(self, data: bytes) -> float:
        """The value of a file."""

    @abstractmethod
    def shortfall(self, data: bytes) -> str | None:
        """A message if the file misses the target by much; None if it does not."""

    def adapted(self, rate_weight: float, data: bytes, spent: float) -> float:
        """The rate weight to go on with after the file `data`; it changes by a factor of 2 at most."""
        if spent <= SETTLED:
            return rate_weight
        before = self.history[-1].spent if self.history else SETTLED
        value = self.measure(data)
        self.history.append(Measurement(spent, value))
        expected = value + self._trend() * (1 - spent)
        doublings = (expected - self.goal) / self.dynamics.per_doubling * self.dynamics.following * (spent - before)
        factor: float = 2 ** min(1.0, max(-1.0, doublings))
        return rate_weight * factor

    def _trend(self) -> float:
        """The change of the value per whole budget; where the rate weight has changed, this damps further changes."""
        last, (least, usual, most) = self.history[-1], self.dynamics.trends
        earlier = [each for each in self.history if each.spent <= last.spent - TREND]
        if not earlier:
            return usual
        first = earlier[-1]
        return min(most, max(least, (last.value - first.value) / (last.spent - first.spent)))


class SizeTarget(FileTarget):
    """A size of `bpp` bits per pixel for the video of `net`; its value is the logarithm to base 2."""

    dynamics = Dynamics(per_doubling=0.54, trends=(-0.6, -0.3, 0.3), following=10)

    def __init__(self, bpp: float, net: VideoRepresentation, history: list[Measurement]) -> None:
        super().__init__(history)
        self.bpp, self.goal = bpp, math.log2(bpp)
        self.pixels = net.video.frames * net.video.height * net.video.width

    def measure(self, data: bytes) -> float:
        """The logarithm of the bits per pixel."""
        return math.log2(8 * len(data) / self.pixels)

    def is_exceeded(self, data: bytes) -> bool:
        """Whether the file is more than 10 % too large."""
        return 2 ** self.measure(data) > MOST_EXCESS * self.bpp

    def shortfall(self, data: bytes) -> str | None:
        """A message for a size over 10 % from the target."""
        reached = 2 ** self.measure(data)
        if self.bpp / MOST_EXCESS < reached <= MOST_EXCESS * self.bpp:
            return None
        return f"bpp={self.bpp:g}: the file has {reached:.4f} bits per pixel; allow more steps to come closer"


class QualityTarget(FileTarget):
    """A mean PSNR of `decibels`, measured on some training frames that are decoded from the file."""

    dynamics = Dynamics(per_doubling=0.75, trends=(0.0, 2.0, 4.0), following=8)

    def __init__(self, decibels: float, frames: Frames, history: list[Measurement]) -> None:
        super().__init__(history)
        self.goal, self.frames = decibels, frames
        self.rows = range(0, len(frames), -(-len(frames) // FRAMES_MEASURED))

    def measure(self, data: bytes) -> float:
        """Mean PSNR in dB."""
        model = decode(data)
        rendered = model.render([self.frames.training_frames[row] for row in self.rows])
        return mean_psnr_of_pairs(
            (frame, self.frames.frame(row)) for frame, row in zip(rendered, self.rows, strict=True)
        )

    def shortfall(self, data: bytes) -> str | None:
        """A message for a quality over 0.2 dB below the target."""
        reached = self.measure(data)
        if reached > self.goal - 0.2:
            return None
        return f"psnr={self.goal:g}: the file reaches {reached:.2f} dB; allow more steps, as with effort=slow"


def check_targets(bpp: float | None, decibels: float | None) -> None:
    """UserError for values that no file can have, or for both at once."""
    if bpp is not None and decibels is not None:
        raise UserError(f"bpp={bpp:g} and psnr={decibels:g}: give one of them")
    if bpp is not None and not bpp > 0:
        raise UserError(f"bpp={bpp}: choose a number of bits per pixel above 0")
    if decibels is not None and not 1 <= decibels <= 80:
        raise UserError(f"psnr={decibels}: choose a number of dB from 1 to 80")
