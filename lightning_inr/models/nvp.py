"""NVP (Kim et al., NeurIPS 2022): a latent per pixel, read from learned grids, modulates a network of time.

    (x, y), (x, t), (y, t) -> three planes at many resolutions   \\
    (x, y, t) -> sparse grid: the slice of t, 3x3 cells around    > latent -> LeakyReLU layers -> modulations
    t -> sine layers, each multiplied by its modulation -> RGB

Sizes are those of the public configurations. There the output is clamped to the range of RGB; here it ends in a
sigmoid, as in all models. Coordinates are pixel centres, and the outer points of the planes lie on the frame's edges
(those of the public grids are shifted by half a cell). The sparse grid has a slice per training frame (600 for the
paper's 600 frames): a frame reads its own slice, a frame position between two the blend of both, as the public code
does for interpolation.

`channels`, which is adjusted to reach a given size, is the side of the sparse grid, and the planes' sides grow with it;
features and networks do not change, and are 1 % of the paper's parameters. Training draws windows of frames, not
single pixels.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.options import check_number, check_range
from lightning_inr.nn.initialise import init_layer
from lightning_inr.nn.plane_pyramid import PlanePyramid
from lightning_inr.nn.upsample import logits_to_rgb
from lightning_inr.types import VideoShape, Window

FIRST_FREQUENCY = 30.0  # ω0 of the first sine layer (Sitzmann et al., NeurIPS 2020); that of the others is 1


@dataclass(frozen=True)
class NVPConfig:
    """The paper's NVP-S."""

    channels: float = 300.0  # side of the sparse grid; the planes' sides are multiples of it
    features: int = 2  # of every grid
    levels: int = 16  # of a plane
    coarsest_ratio: float = 0.05333  # side of a plane's coarsest level, as a multiple of `channels`
    growth: float = 1.35  # ratio of two neighbouring levels' sides
    width: int = 128  # of the two networks
    layers: int = 3  # of each network before the last layer

    def __post_init__(self) -> None:
        check_number("channels", self.channels, 1, 4096)
        check_range("features", self.features, 1, 64)
        check_range("levels", self.levels, 1, 32)
        check_number("coarsest_ratio", self.coarsest_ratio, 1e-4, 4)
        check_number("growth", self.growth, 1, 4)
        check_range("width", self.width, 1, 4096)
        check_range("layers", self.layers, 1, 16)


class StaticPlanes(NamedTuple):
    """Data that all frames share at one size and window of h x w pixels."""

    plane: Tensor  # (h, w, levels * features), read from the plane of x and y
    y: Tensor  # (h,), positions in [0, 1]
    x: Tensor  # (w,)


class NVP(VideoRepresentation):
    """Grids and two small networks, pixel by pixel; parameters are those of `NVPConfig`."""

    Config = NVPConfig

    def __init__(self, video: VideoShape, config: NVPConfig) -> None:
        super().__init__(video, config)
        coarsest = config.channels * config.coarsest_ratio
        self.planes = nn.ModuleDict(
            {name: PlanePyramid(config.levels, coarsest, config.growth, config.features) for name in ("xy", "xt", "yt")}
        )
        # The two sides grow in turn, which halves the step between two sizes of the model.
        self.cells = round(config.channels), math.ceil(config.channels)
        self.sparse = nn.Parameter(torch.empty(len(video.training_frames), math.prod(self.cells), config.features))
        latent = config.features * (3 * config.levels + 9)
        # Every layer of the modulating network reads the latent, and all but the first the layer before.
        self.read = nn.Linear(latent, config.layers * config.width)
        self.carry = nn.ModuleList(nn.Linear(config.width, config.width, bias=False) for _ in range(config.layers - 1))
        self.sines = nn.ModuleList(
            nn.Linear(config.width if layer else 1, config.width) for layer in range(config.layers)
        )
        self.head = nn.Linear(config.width, 3)

    def reset_parameters(self) -> None:
        """Set the initial values: SIREN's for the sine layers; grids are near zero, so that all pixels are alike."""
        for plane in self.planes.values():
            assert isinstance(plane, PlanePyramid)
            plane.reset_parameters()
        nn.init.uniform_(self.sparse, -1e-4, 1e-4)
        for layer in [self.read, *self.carry]:
            init_layer(layer)
        nn.init.uniform_(self.read.bias, -1, 1)  # not zero: frames would not differ
        for number, layer in enumerate([*self.sines, self.head]):
            bound = math.sqrt(6 / layer.in_features) if number else 1.0
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound)

    @property
    def is_pixelwise(self) -> bool:
        """True: no pixel depends on another."""
        return True

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: grid (planes and sparse grid) or base (the two networks)."""
        return "grid" if name == "sparse" or name.startswith("planes.") else "base"

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> StaticPlanes:
        """Positions of the pixels, and the features of the plane of x and y at these."""
        height, width = size or (self.video.height, self.video.width)
        top, left, rows, columns = window or Window(0, 0, height, width)
        y = (torch.arange(top, top + rows, device=self.device) + 0.5) / height
        x = (torch.arange(left, left + columns, device=self.device) + 0.5) / width
        return StaticPlanes(self.planes["xy"](y, x), y, x)

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: StaticPlanes | None = None,
    ) -> Tensor:
        """Frame positions (B,) -> RGB (B, 3, h, w) in [0, 1]; each pixel depends on its own position alone."""
        static = prepared or self.prepare(size, window)
        time = index.float() / max(1, self.video.frames - 1)
        modulations = self.read(self.latents(index, time, static)).chunk(self.config.layers, dim=-1)
        h = F.leaky_relu(modulations[0])
        x = self.first(time)[:, None, None].to(h.dtype) * h
        for carry, sine, modulation in zip(self.carry, self.sines[1:], modulations[1:], strict=True):
            h = F.leaky_relu(carry(h) + modulation)
            x = torch.sin(sine(x)) * h
        return logits_to_rgb(self.head(x).permute(0, 3, 1, 2))

    def first(self, time: Tensor) -> Tensor:
        """The first sine layer (B, width), in float32 even under autocast: bfloat16 does not resolve single frames."""
        layer = self.sines[0]
        assert isinstance(layer, nn.Linear)
        return torch.sin(FIRST_FREQUENCY * (time[:, None] * layer.weight[:, 0] + layer.bias))

    def latents(self, index: Tensor, time: Tensor, static: StaticPlanes) -> Tensor:
        """Frame positions (B,), and the same in [0, 1] -> a latent per pixel (B, h, w, features of all grids)."""
        shape = (len(index), len(static.y), len(static.x), -1)
        return torch.cat(
            [
                static.plane.expand(shape),
                self.planes["xt"](time, static.x)[:, None].expand(shape),
                self.planes["yt"](time, static.y)[:, :, None].expand(shape),
                self.neighbourhood(index, static.y, static.x),
            ],
            dim=-1,
        )

    def neighbourhood(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """The sparse grid's 3x3 cells around every pixel: (B,), (h,), (w,) -> (B, h, w, 9 * features)."""
        last = len(self.sparse) - 1
        position = (index.float() / self.video.stride).clamp(0, last)
        before = position.floor().long()
        after = (before + 1).clamp_max(last)
        cells = torch.lerp(self.sparse[before], self.sparse[after], (position - before)[:, None, None])
        cells = cells.unflatten(1, self.cells).permute(0, 3, 1, 2)
        rows, columns = self.cells
        nine = F.unfold(F.pad(cells, (1, 1, 1, 1), mode="replicate"), 3).unflatten(2, self.cells)
        row = (y * (rows - 1)).round().long()
        column = (x * (columns - 1)).round().long()
        return nine.permute(0, 2, 3, 1).index_select(1, row).index_select(2, column)
