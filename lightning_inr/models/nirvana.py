"""NIRVANA (Maiya et al., CVPR 2023): a small network for every few frames, told by its difference from the last.

    a group's weights = the first group's + all differences so far
    centre of a patch -> SIREN -> small map -> convolutions and pixel shuffles -> that patch of every frame of the group

No public code was found, and the paper's text at hand gives no widths: layers, strides of the decoder, its channels
and its activation (SiLU) are ours. Patches of 32x32 and groups of 3 frames are the paper's. Every patch is
decoded by itself, as there.

One thing differs plainly. The paper trains group after group, each from where the last one ended; here frames come
shuffled and all groups are trained at once, as one network at first, since the differences start at zero: a step
moves the full weights and its own group's difference, not those between. What the paper gets by a warm start (small
differences, cheap to code) is left to the price of bits during training.

A frame costs one pass, and the sum of its group's chain of differences, which is cheap; but the whole chain must have
been decoded. `reset_every` breaks it: every so many groups, one has full weights of its own (0: only the first).
Groups are made of seen frames. Between two of them there is no rule in the paper (others have blended weights): the
two painted frames are blended.
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


class PaintedGroups:
    """What groups paint, for consecutive batches that need the same ones."""

    def __init__(self) -> None:
        self.groups: dict[int, Tensor] = {}  # number -> logits (frames, 3, *padded)
        self.around: tuple[Tensor, Tensor | None] | None = None  # of the next batch: logits before and after

    def take(self) -> tuple[Tensor, Tensor | None] | None:
        """What the next batch needs, once; None if nothing was prepared for it."""
        around, self.around = self.around, None
        return around


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
        """Nothing: no layer of its chain is the last for all groups."""

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> PaintedGroups:
        """A memory of groups, with which consecutive frames cost one pass a group."""
        return PaintedGroups()

    @torch.no_grad()
    def prepare_batch(self, prepared: PaintedGroups, positions: Sequence[float]) -> None:
        """Paint the groups of the seen frames around, as far as the batch before did not."""
        last, group = len(self.video.training_frames) - 1, self.config.group
        places = [min(max(position / self.video.stride, 0), last) for position in positions]
        before = [math.floor(place) for place in places]
        after = [math.ceil(place) for place in places]
        needed = {row // group for row in before + after}
        prepared.groups = {number: logits for number, logits in prepared.groups.items() if number in needed}
        for number in sorted(needed - set(prepared.groups)):
            prepared.groups[number] = self.group_logits(torch.full((1,), number, device=self.device))
        read = [torch.stack([prepared.groups[row // group][row % group] for row in rows]) for rows in (before, after)]
        prepared.around = read[0], read[1] if before != after else None

    def render_frames(
        self, index: Tensor, size: tuple[int, int] | None, prepared: PaintedGroups | None = None
    ) -> Tensor:
        """(B,) -> whole frames (B, 3, *size); between two seen frames, the blend of both."""
        position = self._position(index)
        share = position - position.floor()
        around = None if prepared is None else prepared.take()
        before, after = self._around(position, share) if around is None else around
        frames = logits_to_rgb(self.cut(before), size)
        if after is None:
            return frames
        return torch.lerp(frames, logits_to_rgb(self.cut(after), size), share[:, None, None, None])

    def _around(self, position: Tensor, share: Tensor) -> tuple[Tensor, Tensor | None]:
        """Positions (B,) among the seen frames -> logits before and after, each (B, 3, *padded); None: not needed."""
        before = self._logits_of(position.floor().long())
        # A CPU's tensor can be looked at for nothing; for that of a GPU one would wait, and both frames are painted.
        if share.device.type == "cpu" and not share.any():
            return before, None
        return before, self._logits_of(position.ceil().long())

    def logits(self, index: Tensor) -> Tensor:
        """(B,) -> (B, 3, *padded), what a sigmoid turns into RGB: that of the last seen frame."""
        return self._logits_of(self._position(index).floor().long())

    def _logits_of(self, rows: Tensor) -> Tensor:
        """Rows (B,) among the seen frames -> (B, 3, *padded); its group's network, run for that frame alone."""
        groups, places = rows // self.config.group, rows % self.config.group
        pairs = zip(groups.split(1), places.split(1), strict=True)
        return torch.cat([self.group_logits(group, place) for group, place in pairs])

    def group_logits(self, group: Tensor, place: Tensor | None = None) -> Tensor:
        """The frames of a group (1,), or that at one `place` (1,) in it: (frames, 3, *padded), patch by patch."""
        stride, patches = self.stride, self._features(group)
        frames = self.config.group if place is None else 1
        for number, (chain, step) in enumerate(zip(self.decoder, self.config.strides, strict=True), start=1):
            weight, bias = chain(group)
            if place is not None and number == len(self.decoder):
                weight, bias = (self._of_frame(each, place) for each in (weight, bias))
            patches = depth_to_space(F.conv2d(patches, weight, bias, padding=weight.shape[-1] // 2), step)
            if number < len(self.decoder):
                patches = F.silu(patches)
        cells = patches.permute(0, 2, 3, 1).reshape(self.rows, self.columns, stride, stride, frames, 3)
        return cells.permute(4, 5, 0, 2, 1, 3).reshape(frames, 3, *self.padded_size)

    def _of_frame(self, values: Tensor, place: Tensor) -> Tensor:
        """Weights or biases of the last layer (pixels * frames * 3, ...) -> those of the frame at `place` (1,)."""
        return values.unflatten(0, (-1, self.config.group, 3)).index_select(1, place).flatten(0, 2)

    def _features(self, group: Tensor) -> Tensor:
        """What the SIREN makes of the patches' centres (rows * columns, channels, 1, 1)."""
        device = self.device
        y = (torch.arange(self.rows, device=device) + 0.5) / self.rows
        x = (torch.arange(self.columns, device=device) + 0.5) / self.columns
        values = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1) * 2 - 1
        # float32 whatever the autocast: patches are few, and 30 times what bfloat16 rounds off is much.
        with full_precision(device):
            for chain in self.siren:
                weight, bias = chain(group)
                values = torch.sin(FREQUENCY * F.linear(values, weight[:, :, 0, 0], bias))
        return values[:, :, None, None]

    def _position(self, index: Tensor) -> Tensor:
        return (index.float() / self.video.stride).clamp(0, len(self.video.training_frames) - 1)


def _layers(config: NIRVANAConfig, widths: Sequence[float], decoder: float) -> list[tuple[float, float, int]]:
    """Inputs, outputs and kernel of the SIREN's layers, of these widths, and of a decoder of that many channels."""
    layers: list[tuple[float, float, int]] = []
    inputs: float = 2
    for width in widths:
        layers.append((inputs, width, 1))
        inputs = width
    for number, stride in enumerate(config.strides, start=1):
        width = decoder if number < len(config.strides) else 3 * config.group
        layers.append((inputs, width * stride**2, 1 if number == 1 else 3))  # the first sees a single point
        inputs = width
    return layers


def _whole_widths(config: NIRVANAConfig) -> tuple[list[int], int]:
    """Whole widths of the SIREN's layers, and channels of the decoder, that give the size `channels` asks for.

    A decoder has so few channels that one more is a great step in size. The layers of the SIREN grow, one after the
    other, by what rounding leaves of it.
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
