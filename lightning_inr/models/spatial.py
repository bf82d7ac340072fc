"""Base class of raster representations of position and time: what depends on the position alone is computed once."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_inr.models.options import check_number, check_range, check_strides
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.encodings import frequency_code
from lightning_inr.nn.upsample import logits_to_rgb
from lightning_inr.types import Window, crop


@dataclass(frozen=True)
class SpatialConfig:
    """Common options of E-NeRV and C-NeRV; the defaults are for 720p: a map of 9x16, strides 5, 2, 2, 2, 2."""

    channels: float = 196.0  # of the map
    expansion: float = 3.0  # the first stage's channels, as a multiple of `channels`; then each stage halves them
    least_ratio: float = (
        0.49  # lower limit of every stage but the first, as a multiple of `channels`: 96 in E-NeRV's paper
    )
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    octaves: int = 80  # frequencies of the codes
    base: float = 1.25  # ratio of two neighbouring frequencies

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        check_strides(self.strides)
        check_number("channels", self.channels, 1, 4096)
        check_number("expansion", self.expansion, 1 / 64, 64)
        check_number("least_ratio", self.least_ratio, 0, 64)
        check_range("octaves", self.octaves, 1, 256)
        check_number("base", self.base, 1.001, 4)


class SpatialRepresentation(RasterRepresentation):
    """A raster decoder whose first layers depend on the position and not on the time; `prepare` runs them."""

    @abstractmethod
    def spatial_features(self) -> Tensor:
        """The features that all frames share."""

    @abstractmethod
    def decode_features(self, spatial_features: Tensor, index: Tensor) -> Tensor:
        """The result of `spatial_features`, and frame positions (B,) -> logits (B, 3, *padded)."""

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded)."""
        return self.decode_features(self.spatial_features(), index)

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> Tensor:
        """The features that all frames share, for any size and window."""
        return self.spatial_features()

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Tensor | None = None,
    ) -> Tensor:
        """Frame positions (B,) -> RGB (B, 3, h, w) in [0, 1]; a window is cropped from the whole frame."""
        spatial_features = self.spatial_features() if prepared is None else prepared
        frames = logits_to_rgb(self.cut(self.decode_features(spatial_features, index)), size)
        return frames if window is None else crop(frames, window)

    def position_codes(self) -> Tensor:
        """(rows * columns, 4 * octaves): the codes of row / rows and of column / columns, concatenated, per cell."""
        base, octaves = self.config.base, self.config.octaves
        down = frequency_code(torch.arange(self.rows, device=self.device) / self.rows, base, octaves)
        along = frequency_code(torch.arange(self.columns, device=self.device) / self.columns, base, octaves)
        shape = (self.rows, self.columns, 2 * octaves)
        return torch.cat([down[:, None].expand(shape), along[None].expand(shape)], dim=2).flatten(0, 1)
