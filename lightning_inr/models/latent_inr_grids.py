"""Latent-INR with grids over time: a small modulated network, and most parameters in grids that cost few bits.

    index -> latent z -> hypernetwork of layer l -> θ^l = σ(P Qᵀ) ∘ W^l            (Latent-INR, Eq. 2)
    index -> maps over time at a coarse raster -> layer 0 … layer l (θ^l) … -> features
    z, features -> motion and velocity of the frame
    features -> stages of up-sampling, each plus its grid over time, sampled through the motion; the last gives RGB

z: latent of the frame; P, Q: low-rank factors of the modulation; σ: sigmoid; W^l: base weight of layer l; θ^l: its
weight for the frame.

Slices of maps and grids are spaced evenly over each shot, interpolated linearly, and never blended across a cut
(FFNeRV's temporal grids, NVTM's flow-warped ones). A grid of one slice per shot is the static grid of `latent_inr`.
The two slices beside a frame are sampled where its pixels are at their times: at the motion's positions plus the
velocity times the frames between. Each slice is then a key frame, and what moves is not blended with what was there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_inr.models.latent_inr import ACTIVATIONS
from lightning_inr.models.options import check_choice, check_number, check_range
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.initialise import init_layer
from lightning_inr.nn.modulated_mlp import ModulatedMLP
from lightning_inr.nn.motion import AT_REST, Motion
from lightning_inr.nn.timeline import Timeline
from lightning_inr.nn.upsample import UpsampleStage
from lightning_inr.nn.warped_grid import WarpedGrid
from lightning_inr.types import LONGEST_SIDE, GridLayout, VideoShape

MOTIONS = ("none", "affine", "field")
MAP_OPTIONS = {"channels", "frames_per_slice"}
STAGE_OPTIONS = {"stride", "channels", "kernel", "grid_channels", "frames_per_slice"}


@dataclass(frozen=True)
class LatentINRGridsConfig:
    """Options with small defaults; the values of the main job are in conf/model/latent_inr_grids.yaml."""

    latent_dim: int = 16
    latent_cycles: float = 20.0  # highest frequency of the sines that are the initial latents, in cycles over the clip
    width: int = 32  # of the modulated network
    layers: int = 3
    modulated_layers: tuple[int, ...] = (1,)
    rank: int = 2
    hyper_width: int = 16
    activation: str = "gelu"
    density: float = 1.0  # of slices: multiplies the number that `frames_per_slice` gives, up to one slice per frame
    motion: str = "field"
    motion_scale: float = 0.1
    velocity_scale: float | None = None  # None: no velocity, as in files from before there was one
    shots: tuple[int, ...] = (0,)  # numbers of the frames at which shots start; None: not known yet, one shot
    maps: tuple[Mapping[str, float], ...] = ({"channels": 8, "frames_per_slice": 1},)
    stages: tuple[Mapping[str, float], ...] = (
        {"stride": 5, "channels": 16, "kernel": 1, "grid_channels": 1, "frames_per_slice": 3},
        {"stride": 1, "channels": 16, "kernel": 3, "grid_channels": 0, "frames_per_slice": 0},
        {"stride": 2, "channels": 12, "kernel": 3, "grid_channels": 1, "frames_per_slice": 3},
        {"stride": 2, "channels": 3, "kernel": 3, "grid_channels": 0, "frames_per_slice": 0},
    )

    def __post_init__(self) -> None:
        layers = [self.modulated_layers] if isinstance(self.modulated_layers, int) else self.modulated_layers
        object.__setattr__(self, "modulated_layers", tuple(sorted(set(layers))))
        object.__setattr__(self, "shots", tuple(self.shots or (0,)))
        object.__setattr__(self, "maps", tuple(dict(each) for each in self.maps))
        object.__setattr__(self, "stages", tuple(dict(each) for each in self.stages))
        for name, most in (("latent_dim", 8192), ("width", 4096), ("layers", 16), ("hyper_width", 4096)):
            check_range(name, getattr(self, name), 1, most)
        check_range("rank", self.rank, 1, self.width)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("motion", self.motion, MOTIONS)
        check_number("density", self.density, 1 / 256, 4096)
        check_number("motion_scale", self.motion_scale, 0, 10)
        check_number("velocity_scale", self.velocity_scale, 1e-6, 10, optional=True)
        for layer in self.modulated_layers or (-1,):
            check_range("modulated_layers", layer, 0, self.layers - 1)
        if self.shots[0] != 0:
            raise ValueError(f"shots={list(self.shots)}: the first starts at frame 0")
        for shot in self.shots:
            check_range("shots", shot, 0, 2**24)
        self._check_parts()

    def _check_parts(self) -> None:
        if not 1 <= len(self.maps) <= 8 or not 1 <= len(self.stages) <= 16:
            raise ValueError("maps, stages: give 1 to 8 maps and 1 to 16 stages")
        parts = [("maps", MAP_OPTIONS, each) for each in self.maps]
        parts += [("stages", STAGE_OPTIONS, each) for each in self.stages]
        for kind, options, part in parts:
            if set(part) != options:
                raise ValueError(f"{kind}: {part}; each needs {', '.join(sorted(options))}")
            check_range(f"{kind}.channels", part["channels"], 1, 4096)
            check_number(f"{kind}.frames_per_slice", part["frames_per_slice"], 0, 2**24)
        for stage in self.stages:
            check_range("stages.stride", stage["stride"], 1, 64)
            check_range("stages.grid_channels", stage["grid_channels"], 0, 1024)
            check_choice("stages.kernel", stage["kernel"], (1, 3, 5, 7))
        check_range("product of stages.stride", math.prod(self.strides), 1, LONGEST_SIDE)
        if self.stages[-1]["channels"] != 3:
            raise ValueError(f"stages.channels={self.stages[-1]['channels']}: the last has 3 (RGB)")

    @property
    def strides(self) -> list[int]:
        """The strides of the stages."""
        return [int(stage["stride"]) for stage in self.stages]


class LatentINRGrids(RasterRepresentation):
    """One latent per frame, and grids over time; see the module's diagram."""

    Config = LatentINRGridsConfig
    size_knobs = ("density", "width")

    def __init__(self, video: VideoShape, config: LatentINRGridsConfig) -> None:
        super().__init__(video, config)
        self.time_of_latents = self._timeline(1)
        self.latents = nn.Parameter(torch.empty(len(video.training_frames), config.latent_dim))
        self.maps = nn.ParameterList()
        self.map_times = []
        for each in config.maps:
            timeline = self._timeline(each["frames_per_slice"])
            self.map_times.append(timeline)
            self.maps.append(torch.empty(timeline.slices, self.rows * self.columns, int(each["channels"])))
        self.mlp = ModulatedMLP(
            sum(int(each["channels"]) for each in config.maps), config.width, config.layers,
            config.modulated_layers, config.latent_dim, config.hyper_width, config.rank, ACTIVATIONS[config.activation],
        )  # fmt: skip
        self.motion = self.velocity = None
        if config.motion != "none":
            parts = config.latent_dim, config.width, config.motion == "field"
            self.motion = Motion(*parts, config.motion_scale)
            if config.velocity_scale is not None:
                self.velocity = Motion(*parts, config.velocity_scale, AT_REST)
        self.stages, self.grids = nn.ModuleList(), nn.ModuleDict()
        channels, scale = config.width, 1
        for number, stage in enumerate(config.stages):
            scale *= int(stage["stride"])
            wider = int(stage["channels"])
            # At full size only sums and a sigmoid: a layer there would take as long to decode as all others.
            last = number == len(config.stages) - 1
            activation = nn.Identity() if last else ACTIVATIONS[config.activation]
            self.stages.append(UpsampleStage(channels, wider, int(stage["stride"]), int(stage["kernel"]), activation))
            if stage["grid_channels"]:
                self.grids[str(number)] = WarpedGrid(
                    self._timeline(stage["frames_per_slice"]),
                    self.rows * scale, self.columns * scale, int(stage["grid_channels"]), wider,
                )  # fmt: skip
            channels = wider

    def _timeline(self, frames_per_slice: float) -> Timeline:
        return Timeline(self.video.training_frames, self.config.shots, frames_per_slice / self.config.density)

    def reset_parameters(self) -> None:
        """Set the initial values, with which no layer is modulated and there is no motion."""
        with torch.no_grad():
            self.latents.copy_(_smooth_latents(self.video, self.config))
        for table in self.maps:
            nn.init.normal_(table, std=0.1)
        self.mlp.reset_parameters()
        for motion in (self.motion, self.velocity):
            if motion is not None:
                motion.reset_parameters()
        for stage in self.stages:
            assert isinstance(stage, UpsampleStage)
            init_layer(stage.convolution)
        for grid in self.grids.values():
            assert isinstance(grid, WarpedGrid)
            grid.reset_parameters()

    def init_output_colour(self, colour: Tensor) -> None:
        """Start near `colour`: training towards it may overshoot to where the sigmoid is flat, and stay there."""
        last = self.stages[-1]
        assert isinstance(last, UpsampleStage)
        last.init_output_colour(colour)

    def role_of(self, name: str) -> str | None:
        """The role of a tensor: latents, hyper (hypernetworks), grid (maps and grids over time) or base."""
        if name == "latents":
            return "latents"
        if name.startswith("mlp.hypernetworks."):
            return "hyper"
        return "grid" if name.startswith("maps.") or name.endswith(".table") else "base"

    def grid_layout(self, name: str) -> GridLayout | None:
        """The layout of maps and of grids over time; None for other tensors."""
        kind, _, rest = name.partition(".")
        if kind == "maps":
            return self.map_times[int(rest)].layout(self.rows, self.columns, self.maps[int(rest)].shape[2])
        if kind == "grids" and name.endswith(".table"):
            grid = self.grids[rest.removesuffix(".table")]
            assert isinstance(grid, WarpedGrid)
            return grid.layout
        return None

    def slices_read(self, index: Tensor) -> dict[str, Tensor]:
        """The slices of maps and of grids over time that rendering frames at these positions (B,) reads."""
        times = {f"maps.{number}": timeline for number, timeline in enumerate(self.map_times)}
        for number, grid in self.grids.items():
            assert isinstance(grid, WarpedGrid)
            times[f"grids.{number}.table"] = grid.timeline
        return {name: timeline.at(index).slices for name, timeline in times.items()}

    def latent(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> (B, D), linear between a shot's training frames (Eq. 4), constant beyond its ends."""
        return self.time_of_latents.at(index).read(self.latents)

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded)."""
        z = self.latent(index)
        read = [timeline.at(index).read(table) for timeline, table in zip(self.map_times, self.maps, strict=True)]
        features = self.mlp(torch.cat(read, dim=2), z)  # (B, cells, width)
        motion, velocity = (
            None if each is None else each(z, features, self.rows, self.columns)
            for each in (self.motion, self.velocity)
        )
        x = features.mT.unflatten(2, (self.rows, self.columns))  # channels last in memory, as `features` is contiguous
        for number, stage in enumerate(self.stages):
            x = stage(x, self._detail(number, index, motion, velocity))
        return x

    def _detail(self, number: int, index: Tensor, motion: Tensor | None, velocity: Tensor | None) -> Tensor | None:
        """The addition of a stage's grid, (B, channels, h, w); None where the stage has no grid."""
        if str(number) not in self.grids:
            return None
        grid = self.grids[str(number)]
        assert isinstance(grid, WarpedGrid)
        slices = grid.timeline.at(index)
        if self.motion is None or motion is None:
            return grid(slices, None)
        if velocity is not None:
            motion, velocity = (each.repeat_interleave(2, 0) for each in (motion, velocity))
            motion = motion + slices.frames.view(-1, 1, 1, 1) * velocity
        return grid(slices, self.motion.sampling_positions(motion, grid.height, grid.width))


def _smooth_latents(video: VideoShape, config: LatentINRGridsConfig) -> Tensor:
    """(training frames, D): sin/cos of time at logarithmically spaced frequencies."""
    time = torch.tensor(video.training_frames)[:, None] / max(1, video.frames - 1)
    cycles = torch.logspace(math.log10(0.5), math.log10(config.latent_cycles), -(-config.latent_dim // 2))
    phase = 2 * math.pi * time * cycles
    return torch.cat([phase.sin(), phase.cos()], dim=1)[:, : config.latent_dim]
