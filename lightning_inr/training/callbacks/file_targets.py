"""Targets for the file of a fit: a size in bits per pixel, or a quality in dB."""

from abc import ABC, abstractmethod

from lightning_inr.codec import decode
from lightning_inr.data.module import Frames
from lightning_inr.errors import UserError
from lightning_inr.metrics import mean_psnr_of_pairs
from lightning_inr.models.base import VideoRepresentation

FRAMES_MEASURED = 8  # evenly spaced training frames at most, on which the quality is measured
DB_PER_DOUBLING = 1.5  # that twice the bits add, about
DB_TO_COME = 2.0  # that a fit still gains while its learning rate falls to zero, about


class FileTarget(ABC):
    """What the file is to reach."""

    @abstractmethod
    def excess(self, data: bytes, spent: float = 1.0) -> float:
        """How many times too many bits the file `data` has; `spent`: share of the budget, 0 to 1, that is spent."""

    @abstractmethod
    def shortfall(self, data: bytes) -> str | None:
        """A message if the file misses the target by much; None if it does not."""


class SizeTarget(FileTarget):
    """A size of `bpp` bits per pixel for the video of `net`."""

    def __init__(self, bpp: float, net: VideoRepresentation) -> None:
        self.bpp, self.pixels = bpp, net.video.frames * net.video.height * net.video.width

    def excess(self, data: bytes, spent: float = 1.0) -> float:
        """The size over its target."""
        return 8 * len(data) / self.pixels / self.bpp

    def shortfall(self, data: bytes) -> str | None:
        """A message for a size over 10 % from the target."""
        if 0.9 < self.excess(data) < 1.1:
            return None
        reached = 8 * len(data) / self.pixels
        return f"bpp={self.bpp:g}: the file has {reached:.4f} bits per pixel; allow more steps to come closer"


class QualityTarget(FileTarget):
    """A mean PSNR of `decibels`, measured on some training frames that are decoded from the file."""

    def __init__(self, decibels: float, frames: Frames) -> None:
        self.decibels, self.frames = decibels, frames
        self.rows = range(0, len(frames), -(-len(frames) // FRAMES_MEASURED))

    def excess(self, data: bytes, spent: float = 1.0) -> float:
        """The quality over its target, as a factor of bits; before the end, with what the fit is expected to gain."""
        expected = self.measure(data) + DB_TO_COME * (1 - spent)
        factor: float = 2.0 ** ((expected - self.decibels) / DB_PER_DOUBLING)
        return factor

    def shortfall(self, data: bytes) -> str | None:
        """A message for a quality over 0.2 dB below the target."""
        reached = self.measure(data)
        if reached > self.decibels - 0.2:
            return None
        return f"psnr={self.decibels:g}: the file reaches {reached:.2f} dB; allow more steps, as with effort=slow"

    def measure(self, data: bytes) -> float:
        """Mean PSNR in dB."""
        model = decode(data)
        rendered = model.render([self.frames.training_frames[row] for row in self.rows])
        return mean_psnr_of_pairs(
            (frame, self.frames.frame(row)) for frame, row in zip(rendered, self.rows, strict=True)
        )


def check_targets(bpp: float | None, decibels: float | None) -> None:
    """UserError for values that no file can have, or for both at once."""
    if bpp is not None and decibels is not None:
        raise UserError(f"bpp={bpp:g} and psnr={decibels:g}: give one of them")
    if bpp is not None and not bpp > 0:
        raise UserError(f"bpp={bpp}: choose a number of bits per pixel above 0")
    if decibels is not None and not 1 <= decibels <= 80:
        raise UserError(f"psnr={decibels}: choose a number of dB from 1 to 80")
