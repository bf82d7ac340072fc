"""Base class of NeRV and its descendants: a small map is up-sampled, stride by stride, to a whole frame."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.nn.initialise import reset_modules
from lightning_inr.nn.upsample import logits_to_rgb
from lightning_inr.types import VideoShape, Window, crop


class RasterRepresentation(VideoRepresentation):
    """Renders whole frames of `rows` x `columns` times the product of the strides, cropped to the video's size."""

    head: nn.Module  # the last layer; its first three outputs are the logits of RGB

    def __init__(self, video: VideoShape, config: Any) -> None:
        super().__init__(video, config)
        self.stride = math.prod(config.strides)
        self.rows, self.columns = -(-video.height // self.stride), -(-video.width // self.stride)

    @abstractmethod
    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded)."""

    def reset_parameters(self) -> None:
        """Set the initial values of every `ResettableModule`, such as grids; other layers keep PyTorch's."""
        reset_modules(self)

    def init_output_colour(self, colour: Tensor) -> None:
        """Set the output bias to the logit of `colour`, so that training starts near it (see `LatentINR`)."""
        assert isinstance(self.head.bias, Tensor)
        with torch.no_grad():
            self.head.bias[:3] = torch.logit(colour, 0.02)

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width that the strides give: rendered, and then cropped to the video's size."""
        return self.rows * self.stride, self.columns * self.stride

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Any = None,
    ) -> Tensor:
        """Frame positions (B,) -> RGB (B, 3, h, w) in [0, 1]; a window is cropped from the whole frame."""
        frames = self.render_frames(index, size, prepared)
        return frames if window is None else crop(frames, window)

    def render_frames(self, index: Tensor, size: tuple[int, int] | None, prepared: Any = None) -> Tensor:
        """Frame positions (B,) -> whole frames (B, 3, *size)."""
        return logits_to_rgb(self.cut(self.logits(index)), size)

    def cut(self, padded: Tensor) -> Tensor:
        """Crop (B, C, *padded) -> (B, C, height, width) of the video."""
        return padded[:, :, : self.video.height, : self.video.width]

    def time(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> relative times (B,) in [0, 1): the fraction of the video before each."""
        return index.float() / self.video.frames
