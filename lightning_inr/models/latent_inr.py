"""Latent-INR (Maiya et al., ECCV 2024): a learned latent per frame modulates a shared coordinate network.

    index -> latent z_t -> hypernetwork of layer l -> P, Q -> θ_t^l = σ(P Qᵀ) ∘ θ^l        (Eq. 2)
    position x -> encoding -> layer 0 … layer l (θ_t^l) … -> stages of up-sampling -> RGB

z_t: latent of frame t; P, Q: low-rank factors of the modulation; σ: its activation (option `modulation`); θ^l: base
weight of layer l; θ_t^l: weight of layer l for frame t.

One stage of stride 1 is the paper's pixel-wise network; one of stride s its patch variant (patch centres in,
s x s patches out, by convolution and pixel shuffle); several stages apply that variant at several scales.
The layers before the first modulated one, and the stages' grids, are shared by all frames.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.options import check_choice, check_range
from lightning_inr.nn.encodings import build_encoding, cell_positions
from lightning_inr.nn.hypernetwork import Hypernetwork
from lightning_inr.nn.initialise import init_layer
from lightning_inr.nn.modulation import MODULATIONS, ModulatedLinear
from lightning_inr.nn.upsample import UpsampleStage, logits_to_rgb
from lightning_inr.types import VideoShape, Window, crop

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}
LATENT_STARTS = ("normal", "smooth")


@dataclass(frozen=True)
class LatentINRConfig:
    """The defaults follow the paper's main text; what it does not specify is chosen here (latent_start, σ, grid)."""

    latent_dim: int = 512
    latent_start: str = "normal"  # or "smooth": sin/cos of time, up to `latent_cycles` over the clip
    latent_scale: float = 0.01  # standard deviation for "normal", amplitude for "smooth"
    latent_cycles: float = 20.0  # highest frequency of "smooth", in cycles over the clip
    encoding: Mapping[str, Any] = field(default_factory=lambda: {"kind": "hash"})
    width: int = 512
    layers: int = 6  # hidden layers; layer 0 reads the encoding, layer 1 is the paper's "first hidden layer"
    activation: str = "relu"  # of layers and stages
    modulated_layers: tuple[int, ...] = (1,)
    rank: int = 100
    modulation: str = "sigmoid"
    hyper_depth: int = 1
    hyper_width: int = 128
    # Stages of up-sampling, each with stride, channels, kernel and the channels of its static grid; the last gives RGB.
    stages: tuple[Mapping[str, int], ...] = ({"stride": 1, "channels": 3, "kernel": 1, "grid_channels": 0},)

    def __post_init__(self) -> None:
        # JSON and YAML give lists; a command line may give a single number.
        layers = [self.modulated_layers] if isinstance(self.modulated_layers, int) else self.modulated_layers
        object.__setattr__(self, "modulated_layers", tuple(sorted(set(layers))))
        object.__setattr__(self, "stages", tuple(dict(stage) for stage in self.stages))
        for name, most in (("latent_dim", 8192), ("width", 8192), ("layers", 64), ("hyper_depth", 16)):
            check_range(name, getattr(self, name), 1, most)
        check_range("hyper_width", self.hyper_width, 1, 8192)
        check_range("rank", self.rank, 1, self.width)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("modulation", self.modulation, MODULATIONS)
        check_choice("latent_start", self.latent_start, LATENT_STARTS)
        if not self.modulated_layers:
            raise ValueError("modulated_layers=[]: name at least one layer, or every frame is the same")
        for layer in self.modulated_layers:
            check_range("modulated_layers", layer, 0, self.layers - 1)
        if not 1 <= len(self.stages) <= 8 or self.stages[-1].get("channels") != 3:
            raise ValueError(f"stages={list(self.stages)}: give 1 to 8, the last of 3 channels (RGB)")
        for stage in self.stages:
            if set(stage) != {"stride", "channels", "kernel", "grid_channels"}:
                raise ValueError(f"stages: {stage}; each needs stride, channels, kernel, grid_channels")
            check_range("stages.stride", stage["stride"], 1, 64)
            check_range("stages.channels", stage["channels"], 1, 4096)
            check_range("stages.grid_channels", stage["grid_channels"], 0, 1024)
            check_choice("stages.kernel", stage["kernel"], (1, 3, 5, 7))


class StaticGrids(NamedTuple):
    """Data that all frames share at one size and window."""

    features: Tensor  # (cells, channels): the input of the first modulated layer
    details: list[Tensor | None]  # one per stage, (1, channels, h, w)
    cells: Window  # the rectangle of cells that is rendered: the window and the margin of its convolutions


class LatentINR(VideoRepresentation):
    """One latent per frame; see the module's diagram. Parameters are those of `LatentINRConfig`."""

    Config = LatentINRConfig
    size_knobs = ("width", "latent_dim")

    def __init__(self, video: VideoShape, config: LatentINRConfig) -> None:
        super().__init__(video, config)
        self.stride = math.prod(stage["stride"] for stage in config.stages)
        self.rows, self.columns = -(-video.height // self.stride), -(-video.width // self.stride)
        self.latents = nn.Parameter(torch.empty(len(video.training_frames), config.latent_dim))
        self.encoding = build_encoding(**config.encoding)
        self.layers = nn.ModuleList()
        self.hypernetworks = nn.ModuleDict()
        modulation = MODULATIONS[config.modulation]
        for layer in range(config.layers):
            fan_in = config.width if layer else self.encoding.width
            modulated = layer in config.modulated_layers
            linear = (ModulatedLinear if modulated else nn.Linear)(fan_in, config.width)
            if modulated:
                self.hypernetworks[str(layer)] = Hypernetwork(
                    config.latent_dim, config.hyper_depth, config.hyper_width,
                    fan_in, config.width, config.rank, modulation.start,
                )  # fmt: skip
            self.layers.append(linear)
        self._build_stages()

    def _build_stages(self) -> None:
        channels, scale = self.config.width, 1
        self.stages = nn.ModuleList()
        for number, stage in enumerate(self.config.stages, start=1):
            scale *= stage["stride"]
            last = number == len(self.config.stages)
            built = UpsampleStage(
                channels, height=self.rows * scale, width=self.columns * scale,
                activation=_identity if last else ACTIVATIONS[self.config.activation], **stage,
            )  # fmt: skip
            self.stages.append(built)
            channels = stage["channels"]

    def reset_parameters(self) -> None:
        """Set the initial values, with which all frames are equal and no layer is modulated."""
        neutral = MODULATIONS[self.config.modulation].neutral
        with torch.no_grad():
            self.latents.copy_(_start_latents(self.video, self.config))
        self.encoding.reset_parameters()
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            init_layer(layer, gain=1 / neutral if isinstance(layer, ModulatedLinear) else 1.0)
        for network in self.hypernetworks.values():
            assert isinstance(network, Hypernetwork)
            network.reset_parameters()
        for stage in self.stages:
            assert isinstance(stage, UpsampleStage)
            init_layer(stage.convolution)
            stage.reset_parameters()

    def init_output_colour(self, colour: Tensor) -> None:
        """Start near `colour`: training towards it may overshoot to where the sigmoid is flat, and stay there."""
        last = self.stages[-1]
        assert isinstance(last, UpsampleStage)
        last.init_output_colour(colour)

    @property
    def is_pixelwise(self) -> bool:
        """True for the pixel-wise network: its coordinates are continuous and nothing else is spatial.

        At another size it gets other coordinates; the variants with stages resample their logits.
        """
        return all(
            stage["stride"] == stage["kernel"] == 1 and not stage["grid_channels"] for stage in self.config.stages
        )

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width of whole cells: rendered, and then cropped to the video's size."""
        return self.rows * self.stride, self.columns * self.stride

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: latents, hyper (hypernetworks), grid (encoding and stages' grids) or base."""
        if name == "latents":
            return "latents"
        if name.startswith("hypernetworks."):
            return "hyper"
        return "grid" if name.startswith("encoding.") or name.endswith(".grid") else "base"

    def latent(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> (B, D), linear between training frames (Eq. 4), constant beyond the ends."""
        last = len(self.latents) - 1
        position = (index.to(self.latents.dtype) / self.video.stride).clamp(0, last)
        before = position.floor().long()
        after = (before + 1).clamp_max(last)
        return torch.lerp(self.latents[before], self.latents[after], (position - before)[:, None])

    def modulation(self, z: Tensor) -> dict[int, Tensor]:
        """z (B, D) -> layer -> σ(P Qᵀ) (B, out, in), in float32 even under autocast (Eq. 2)."""
        sigma = MODULATIONS[self.config.modulation].sigma
        with full_precision(z.device):
            factors = {int(layer): network(z) for layer, network in self.hypernetworks.items()}
            return {layer: sigma(p @ q.mT) for layer, (p, q) in factors.items()}

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> StaticGrids:
        """Everything that does not depend on time, at one size and window."""
        height, width = self._raster(size)
        if window is None or self._resized(size):
            window = Window(0, 0, height, width)
        cells = self._cells(window, height, width)
        where = cell_positions(*cells, height / self.stride, width / self.stride, like=self.latents)
        x = self.encoding(where)
        for layer in range(self.config.modulated_layers[0]):
            x = self._activate(self.layers[layer](x))
        return StaticGrids(x, self._details(cells), cells)

    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: StaticGrids | None = None,
    ) -> Tensor:
        """Frame positions (B,) -> RGB (B, 3, h, w) in [0, 1]; `prepared`: from `prepare` for this size and window."""
        raster = Window(0, 0, *self._raster(size))
        if self._resized(size):
            whole = logits_to_rgb(self._logits(index, raster, prepared or self.prepare()), size)
            return whole if window is None else crop(whole, window)
        return logits_to_rgb(self._logits(index, window or raster, prepared or self.prepare(size, window)))

    def _logits(self, index: Tensor, window: Window, static: StaticGrids) -> Tensor:
        """Frame positions (B,) -> logits (B, 3, h, w) of the window of the network's own raster."""
        cells = static.cells
        x = self._base(self.latent(index), static.features)  # (B, cells, width)
        x = x.mT.unflatten(2, (cells.height, cells.width)).contiguous(memory_format=torch.channels_last)
        for stage, detail in zip(self.stages, static.details, strict=True):
            x = stage(x, detail)
        top, left = window.top - cells.top * self.stride, window.left - cells.left * self.stride
        return crop(x, window._replace(top=top, left=left))

    def _base(self, z: Tensor, x: Tensor) -> Tensor:
        """Latents (B, D) and static features (cells, channels) -> (B, cells, width)."""
        modulation = self.modulation(z)
        for layer in range(self.config.modulated_layers[0], self.config.layers):
            linear = self.layers[layer]
            x = self._activate(
                linear.modulated(x, modulation[layer]) if isinstance(linear, ModulatedLinear) else linear(x)
            )
        return x

    def _activate(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.config.activation](x)

    def _raster(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """Height and width that the network renders, before resampling."""
        return size if size and self.is_pixelwise else (self.video.height, self.video.width)

    def _resized(self, size: tuple[int, int] | None) -> bool:
        return size is not None and tuple(size) != self._raster(size)

    def _cells(self, window: Window, height: int, width: int) -> Window:
        """The cells of `window` and of a margin that its convolutions read, within the frame's cells."""
        reach, scale = 0.0, 1
        for stage in self.config.stages:
            reach += stage["kernel"] // 2 / scale
            scale *= stage["stride"]
        margin = math.ceil(reach)
        rows, columns = -(-height // self.stride), -(-width // self.stride)
        top = max(0, window.top // self.stride - margin)
        left = max(0, window.left // self.stride - margin)
        bottom = min(rows, -(-(window.top + window.height) // self.stride) + margin)
        right = min(columns, -(-(window.left + window.width) // self.stride) + margin)
        return Window(top, left, bottom - top, right - left)

    def _details(self, cells: Window) -> list[Tensor | None]:
        details: list[Tensor | None] = []
        scale = 1
        for stage in self.stages:
            assert isinstance(stage, UpsampleStage)
            scale *= stage.stride
            details.append(stage.detail(*(value * scale for value in cells)))
        return details


def _identity(x: Tensor) -> Tensor:
    return x


def _start_latents(video: VideoShape, config: LatentINRConfig) -> Tensor:
    """(training frames, D): normal noise, or sin/cos of time at logarithmically spaced frequencies."""
    numbers = torch.tensor(video.training_frames)[:, None]
    if config.latent_start == "normal":
        return config.latent_scale * torch.randn(len(numbers), config.latent_dim)
    time = numbers / max(1, video.frames - 1)
    cycles = torch.logspace(math.log10(0.5), math.log10(config.latent_cycles), -(-config.latent_dim // 2))
    phase = 2 * math.pi * time * cycles
    return config.latent_scale * torch.cat([phase.sin(), phase.cos()], dim=1)[:, : config.latent_dim]
