"""What raster representations share whose input is a place and a time: all of the place alone is worked out once."""

from abc import abstractmethod

import torch
from torch import Tensor

from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.nn.upsample import paint
from lightning_inr.types import Window, crop


class SpatialRepresentation(RasterRepresentation):
    """A raster decoder whose first layers see the place, and not the time; `prepare` runs them."""

    @abstractmethod
    def space(self) -> Tensor:
        """What all frames share."""

    @abstractmethod
    def unfold(self, space: Tensor, index: Tensor) -> Tensor:
        """What `space` gave and positions (B,) -> logits (B, 3, *padded)."""

    def logits(self, index: Tensor) -> Tensor:
        """(B,) -> (B, 3, *padded), what a sigmoid turns into RGB."""
        return self.unfold(self.space(), index)

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> Tensor:
        """What all frames share, at any size and window."""
        return self.space()

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Tensor | None = None,
    ) -> Tensor:
        """(B,) -> RGB (B, 3, h, w) in [0, 1]; a window is cut from the whole frame."""
        space = self.space() if prepared is None else prepared
        frames = paint(self.cut(self.unfold(space, index)), size)
        return frames if window is None else crop(frames, window)

    def places(self) -> Tensor:
        """(rows * columns, 4 * octaves): the codes of each row / rows and column / columns, side by side."""
        base, octaves = self.config.base, self.config.octaves
        down = frequency_code(torch.arange(self.rows, device=self.device) / self.rows, base, octaves)
        along = frequency_code(torch.arange(self.columns, device=self.device) / self.columns, base, octaves)
        shape = (self.rows, self.columns, 2 * octaves)
        return torch.cat([down[:, None].expand(shape), along[None].expand(shape)], dim=2).flatten(0, 1)
