"""NIRVANA (Maiya et al., CVPR 2023): a small network per group of frames, coded as a difference from the one before.

    weights of a group = weights of the first group + all differences up to the group
    centre of a patch -> SIREN -> small map -> convolutions and pixel shuffles -> that patch of every frame of the group

No public code was found, and the available text of the paper gives no widths: layers, strides of the decoder, its
channels and its activation (SiLU) are chosen here. Patches of 32x32 and groups of 3 frames are the paper's. Every
patch is decoded separately, as in the paper.

One difference to the paper: it trains group after group, each initialised with the result of the one before; here
frames are shuffled and all groups are trained together. They start as one network, since the differences are initially
zero; a step changes the full weights and the difference of its own group, not those between. The paper's warm start
keeps differences small and cheap to code; here the rate term of the loss does that.

A frame costs one pass and the sum of its group's chain of differences, which is cheap; but the whole chain must have
been decoded. `reset_every` limits the chain: one group in that many has its own full weights (0: only the first).
Groups consist of training frames. For a frame position between two of them the paper gives no rule (others blend the
weights): here the two rendered frames are blended.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.models.options import check_number, check_range, check_strides
from lightning_inr.models.raster import RasterRepresentation
from lightning_inr.nn.upsample import depth_to_space, logits_to_rgb
from lightning_inr.nn.weight_chain import WeightChain
from lightning_inr.types import VideoShape, Window

FREQUENCY = 30.0  # ω0 of SIREN (Sitzmann et al., NeurIPS 2020)


@dataclass(frozen=True)
class NIRVANAConfig:
    """Groups of 3 frames, patches of 32x32."""

    channels: float = 64.0  # of the SIREN's layers, before rounding (see `_whole_widths`)
    layers: int = 4  # of the SIREN
    decoder_ratio: float = 0.5  # channels of the decoder, as a multiple of `channels`
    strides: tuple[int, ...] = (4, 2, 2, 2)  # of the decoder, from one point to a patch
    group: int = 3  # frames
    reset_every: int = 0  # groups; 0: never

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        check_strides(self.strides)
        check_number("channels", self.channels, 1, 1024)
        check_range("layers", self.layers, 1, 16)
        check_number("decoder_ratio", self.decoder_ratio, 1 / 64, 16)
        check_range("group", self.group, 1, 64)
        check_range("reset_every", self.reset_every, 0, 2**24)


class GroupCache:
    """A cache of the logits of groups, for consecutive batches that need the same ones."""

    def __init__(self) -> None:
        self.groups: dict[int, Tensor] = {}  # number -> logits (frames, 3, *padded)
        self.adjacent: tuple[Tensor, Tensor | None] | None = None  # of the next batch: logits before and after

    def take(self) -> tuple[Tensor, Tensor | None] | None:
        """Return the data prepared for the next batch, and remove them; None if nothing was prepared."""
        adjacent, self.adjacent = self.adjacent, None
        return adjacent


class NIRVANA(RasterRepresentation):
    """A chain of small networks, each for a group of frames; parameters are those of `NIRVANAConfig`."""

    Config = NIRVANAConfig

    def __init__(self, video: VideoShape, config: NIRVANAConfig) -> None:
        super().__init__(video, config)
        groups = -(-len(video.training_frames) // config.group)
        self.siren, self.decoder = nn.ModuleList(), nn.ModuleList()
        for number, (inputs, outputs, kernel) in enumerate(_layers(config, *_whole_widths(config))):
            sine, last = number < config.layers, number == config.layers + len(config.strides) - 1
            if sine:
                spread = math.sqrt(6 / inputs) / FREQUENCY if number else 1 / inputs  # as SIREN
            else:
                spread = math.sqrt((3 if last else 6) / (inputs * kernel**2))
            chain = WeightChain(int(inputs), int(outputs), kernel, groups, config.reset_every, spread)
            (self.siren if sine else self.decoder).append(chain)

    def init_output_colour(self, colour: Tensor) -> None:
        """Do nothing: no bias is common to all groups."""

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> GroupCache:
        """A cache of groups, with which consecutive frames cost one pass per group."""
        return GroupCache()

    @torch.no_grad()
    def prepare_batch(self, prepared: GroupCache, positions: Sequence[float]) -> None:
        """Render the groups of the adjacent training frames, except those that the cache already has."""
        last, group = len(self.video.training_frames) - 1, self.config.group
        rows = [min(max(position / self.video.stride, 0), last) for position in positions]
        before = [math.floor(row) for row in rows]
        after = [math.ceil(row) for row in rows]
        needed = {row // group for row in before + after}
        prepared.groups = {number: logits for number, logits in prepared.groups.items() if number in needed}
        for number in sorted(needed - set(prepared.groups)):
            prepared.groups[number] = self.group_logits(torch.full((1,), number, device=self.device))
        logits = [torch.stack([prepared.groups[row // group][row % group] for row in each]) for each in (before, after)]
        prepared.adjacent = logits[0], logits[1] if before != after else None

    def render_frames(self, index: Tensor, size: tuple[int, int] | None, prepared: GroupCache | None = None) -> Tensor:
        """Frame positions (B,) -> whole frames (B, 3, *size); between two training frames, the blend of both."""
        position = self._position(index)
        share = position - position.floor()
        adjacent = None if prepared is None else prepared.take()
        before, after = self._adjacent_logits(position, share) if adjacent is None else adjacent
        frames = logits_to_rgb(self.cut(before), size)
        if after is None:
            return frames
        return torch.lerp(frames, logits_to_rgb(self.cut(after), size), share[:, None, None, None])

    def _adjacent_logits(self, position: Tensor, share: Tensor) -> tuple[Tensor, Tensor | None]:
        """Positions among the training frames (B,) -> logits before and after, (B, 3, *padded); None: not needed."""
        before = self._logits_of(position.floor().long())
        # Reading a tensor of a CPU is free; on a GPU it would synchronise, so both frames are rendered. So are they in
        # a graph that is exported: it has no branches.
        if share.device.type == "cpu" and not torch.compiler.is_compiling() and not share.any():
            return before, None
        return before, self._logits_of(position.ceil().long())

    def logits(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> logits of RGB (B, 3, *padded), those of the training frame at or before each."""
        return self._logits_of(self._position(index).floor().long())

    def _logits_of(self, rows: Tensor) -> Tensor:
        """Rows (B,) among the training frames -> logits (B, 3, *padded), from the group's network for that frame."""
        groups, frames = rows // self.config.group, rows % self.config.group
        pairs = zip(groups.split(1), frames.split(1), strict=True)
        return torch.cat([self.group_logits(group, frame) for group, frame in pairs])

    def group_logits(self, group: Tensor, frame: Tensor | None = None) -> Tensor:
        """Logits of the frames of a group (1,), or of its `frame` (1,) alone: (frames, 3, *padded)."""
        stride, patches = self.stride, self._features(group)
        frames = self.config.group if frame is None else 1
        for number, (chain, step) in enumerate(zip(self.decoder, self.config.strides, strict=True), start=1):
            weight, bias = chain(group)
            if frame is not None and number == len(self.decoder):
                weight, bias = (self._of_frame(each, frame) for each in (weight, bias))
            patches = depth_to_space(F.conv2d(patches, weight, bias, padding=weight.shape[-1] // 2), step)
            if number < len(self.decoder):
                patches = F.silu(patches)
        cells = patches.permute(0, 2, 3, 1).reshape(self.rows, self.columns, stride, stride, frames, 3)
        return cells.permute(4, 5, 0, 2, 1, 3).reshape(frames, 3, *self.padded_size)

    def _of_frame(self, values: Tensor, frame: Tensor) -> Tensor:
        """Weights or biases of the last layer (pixels * frames * 3, ...) -> those of its `frame` (1,)."""
        return values.unflatten(0, (-1, self.config.group, 3)).index_select(1, frame).flatten(0, 2)

    def _features(self, group: Tensor) -> Tensor:
        """The SIREN's features of the patch centres, (rows * columns, channels, 1, 1)."""
        device = self.device
        y = (torch.arange(self.rows, device=device) + 0.5) / self.rows
        x = (torch.arange(self.columns, device=device) + 0.5) / self.columns
        values = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1) * 2 - 1
        # float32 even under autocast: patches are few, and the sine magnifies rounding errors of bfloat16 30 times.
        with full_precision(device):
            for chain in self.siren:
                weight, bias = chain(group)
                values = torch.sin(FREQUENCY * F.linear(values, weight[:, :, 0, 0], bias))
        return values[:, :, None, None]

    def _position(self, index: Tensor) -> Tensor:
        return (index.float() / self.video.stride).clamp(0, len(self.video.training_frames) - 1)


def _layers(config: NIRVANAConfig, widths: Sequence[float], decoder: float) -> list[tuple[float, float, int]]:
    """Inputs, outputs and kernel of each layer: of a SIREN with these `widths`, and of a `decoder` of that width."""
    layers: list[tuple[float, float, int]] = []
    inputs: float = 2
    for width in widths:
        layers.append((inputs, width, 1))
        inputs = width
    for number, stride in enumerate(config.strides, start=1):
        width = decoder if number < len(config.strides) else 3 * config.group
        layers.append((inputs, width * stride**2, 1 if number == 1 else 3))  # the input of the first is a single point
        inputs = width
    return layers


def _whole_widths(config: NIRVANAConfig) -> tuple[list[int], int]:
    """Integer widths of the SIREN's layers, and channels of the decoder, whose size matches fractional `channels`.

    A decoder has few channels, so one more changes the size much: they are rounded down, and the layers of the SIREN
    are widened one after the other as long as the size stays within that of the fractional widths.
    """

    def size(widths: Sequence[float], decoder: float) -> float:
        layers = _layers(config, widths, decoder)
        return sum(outputs * (inputs * kernel**2 + 1) for inputs, outputs, kernel in layers)

    wanted = size([config.channels] * config.layers, config.channels * config.decoder_ratio)
    decoder = max(1, int(config.channels * config.decoder_ratio))
    widths = [1] * config.layers
    while True:
        narrowest = widths.index(min(widths))
        grown = [width + (layer == narrowest) for layer, width in enumerate(widths)]
        if size(grown, decoder) > wanted:
            return widths, decoder
        widths = grown
