"""The interface of every video representation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_inr.devices import fast_bfloat16
from lightning_inr.models.gpu_rendering import RenderedBatch, render_on_gpu
from lightning_inr.models.latent_heads import HEAD_ROLES, LatentHeads
from lightning_inr.side_by_side import map_side_by_side
from lightning_inr.types import FrameBatch, GridLayout, VideoShape, Window

# Of tensors, in the order of the file.
ROLES = ("latents", "embeddings", "hyper", "grid", "base", "semantic", "projector")
PLACE_ROLES = ("latents", "embeddings", "grid")  # their tensors have axes of time or space; those of weights have not
# Pixels rendered at once: bounds the memory of decoding at any resolution.
PIXELS_AT_ONCE = 2**18
PIXELS_IN_THREADS = 2**20  # pixels that all threads together render at once
FRAMES_PER_BAND = 8  # where a frame needs several bands, this many frames share what `prepare` computes for each


class VideoRepresentation(LatentHeads, ABC):
    """A network that represents one video and renders its frames from frame positions.

    A frame position is a float time in units of frames (3.5 lies between frames 3 and 4).
    """

    Config: ClassVar[type[Any]]  # frozen dataclass of JSON values
    size_knobs: ClassVar[Sequence[str]] = ("channels",)  # options solved for a given size: first coarse, then fine
    aux_weights: ClassVar[Mapping[str, float]] = {}  # loss weights of the training outputs besides `final`

    def __init__(self, video: VideoShape, config: Any) -> None:
        super().__init__(video)
        self.config = config

    @abstractmethod
    def reset_parameters(self) -> None:
        """Set the initial value of every parameter; construction alone leaves them unset."""

    def init_output_colour(self, colour: Tensor) -> None:
        """Set the output bias so that initial frames are close to `colour`, RGB (3,) in [0, 1]; by default nothing."""

    @abstractmethod
    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Any = None,
    ) -> Tensor:
        """Frame positions `index` (B,) -> RGB (B, 3, h, w) in [0, 1], from coded tensors alone.

        `size` is the frame's (height, width), by default the video's. `window` is a rectangle of the frame of that
        size, by default all of it. `prepared` is the result of `prepare` for the same size and window.
        """

    def role_of(self, name: str) -> str | None:
        """The role, one of ROLES, of a tensor of the state dict; None if only training uses it."""
        return "base"

    def grid_layout(self, name: str) -> GridLayout | None:
        """The layout over time and space of the tensor `name` of the state dict; None if it is no grid over both."""
        return None

    def slices_read(self, index: Tensor) -> Mapping[str, Tensor]:
        """By tensor name, the slices that rendering frames at these positions (B,) reads; other tensors are read whole.

        In training, only these slices are rounded.
        """
        return {}

    def coded_groups(self) -> Mapping[str, list[str]]:
        """role -> names in the state dict; together they contain every tensor of the decoder once."""
        groups: dict[str, list[str]] = {role: [] for role in ROLES}
        for name in self.state_dict():
            role = HEAD_ROLES.get(name.partition(".")[0]) or self.role_of(name)
            if role is not None:
                groups[role].append(name)
        return {role: names for role, names in groups.items() if names}

    def decoder_only(self) -> None:
        """Remove what only training needs, so that the state dict is the coded groups; by default nothing."""

    @property
    def passes_per_frame(self) -> int:
        """The number of decoder passes for one frame rendered alone."""
        return 1

    @property
    def is_pixelwise(self) -> bool:
        """Whether a window costs no more than its share of the frame; large frames are then rendered in bands."""
        return False

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width rendered before cropping to the video's; larger where the strides do not divide those."""
        return self.video.height, self.video.width

    def reconstruct(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Tensor:
        """The output that training compares with `frames` (B, 3, h, w); models with an encoder override it."""
        return self(index, window=window)

    def training_outputs(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Mapping[str, Tensor]:
        """All outputs that training compares with `frames`: `final`, and those named in `aux_weights`."""
        return {"final": self.reconstruct(index, frames, window)}

    def store_embeddings(self, batches: Iterable[FrameBatch]) -> None:
        """Compute from the training frames what `forward` needs besides trained parameters; by default nothing."""

    def roles(self) -> dict[str, list[nn.Parameter]]:
        """role -> parameters, the optimiser's groups; parameters that only training uses have the role `encoder`."""
        named = dict(self.named_parameters())
        roles = {
            role: [named.pop(name) for name in names if name in named] for role, names in self.coded_groups().items()
        }
        return roles | ({"encoder": list(named.values())} if named else {})

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> Any:
        """Data that all frames share at one size and window, for `forward` as `prepared`; None if there are none."""
        return None

    def prepare_batch(self, prepared: Any, positions: Sequence[float]) -> None:
        """Update `prepared` for the next call of `forward`, at these frame positions, reusing earlier results.

        Positions are numbers on the host: `forward` gets a tensor on the device, and reading it would wait for it.
        """

    def render(self, index: Iterable[float], size: tuple[int, int] | None = None) -> Iterator[Tensor]:
        """Yield the frames at `index` as (3, h, w) uint8 on the CPU, in bounded memory.

        A frame too large to render at once is rendered in bands, if the model can render windows alone. On the CPU
        small frames that share no data are rendered by several threads, each of which renders its own.
        """
        positions = torch.tensor(list(index), dtype=torch.float32)
        if not len(positions):
            return
        height, width = size or (self.video.height, self.video.width)
        rows = min(height, max(1, PIXELS_AT_ONCE // width)) if self.is_pixelwise else height
        bands = [Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows)]
        pixels = height * width if self.is_pixelwise else max(height * width, math.prod(self.padded_size))
        if len(bands) > 1:
            for chosen in positions.split(FRAMES_PER_BAND):
                yield from self._render_bands(chosen, size, bands, max(1, PIXELS_AT_ONCE // pixels))
            return
        yield from self._render_whole(positions, size, bands[0], pixels)

    def _render_whole(
        self, positions: Tensor, size: tuple[int, int] | None, window: Window, pixels: int
    ) -> Iterator[Tensor]:
        """`render` for frames of so many pixels, which fit into memory."""
        with torch.inference_mode(), self._precision():
            shared = self.prepare(size, window)
        batch = max(1, PIXELS_AT_ONCE // pixels)
        threads = torch.get_num_threads() if self.device.type == "cpu" and shared is None else 1
        alone = min(batch, PIXELS_IN_THREADS // (threads * pixels))  # frames of a thread
        if threads > 1 and 0 < alone < len(positions):
            render = partial(self._render_batch, size=size, window=window, shared=None)
            for frames in map_side_by_side(render, positions.split(alone), threads):
                yield from frames
            return
        if self.device.type == "cuda":
            render_alike = partial(self._render_on_device, size=size, window=window, shared=shared)
            changes = type(self).prepare_batch is not VideoRepresentation.prepare_batch
            update = partial(self.prepare_batch, shared) if changes else None
            yield from render_on_gpu(render_alike, update, positions.split(batch), self.device)
            return
        for chosen in positions.split(batch):
            yield from self._render_batch(chosen, size, window, shared)

    def _precision(self) -> torch.autocast:
        """The context of rendering: bfloat16 where the device computes it fast."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=fast_bfloat16(self.device))

    @torch.inference_mode()
    def _render_bands(
        self, positions: Tensor, size: tuple[int, int] | None, bands: Sequence[Window], batch: int
    ) -> Tensor:
        """Frames (N, 3, h, w) uint8 on the CPU, from bands that each share what `prepare` computes."""
        rendered = []
        for window in bands:
            with self._precision():
                shared = self.prepare(size, window)
            rendered.append(
                torch.cat([self._render_batch(part, size, window, shared) for part in positions.split(batch)])
            )
        return torch.cat(rendered, dim=2)

    @torch.inference_mode()
    def _render_batch(self, positions: Tensor, size: tuple[int, int] | None, window: Window, shared: Any) -> Tensor:
        """A window of frames, (N, 3, h, w) uint8 on the CPU; `positions` (N,) are on the CPU."""
        with self._precision():
            self.prepare_batch(shared, positions.tolist())
        frames, total = self._render_on_device(positions.to(self.device), size, window, shared)
        return RenderedBatch(frames.cpu(), total).checked(float(positions[0]))

    @torch.inference_mode()
    def _render_on_device(
        self, index: Tensor, size: tuple[int, int] | None, window: Window, shared: Any
    ) -> RenderedBatch:
        """A window of the frames at `index` (N,), on the device."""
        with self._precision():
            frames = self(index, size, window, shared)
            return RenderedBatch(_to_bytes(frames), frames.sum())


def _to_bytes(frames: Tensor) -> Tensor:
    # Rounded in one pass without a clamp: `forward` returns values in [0, 1].
    return torch.add(frames.new_full((), 0.5), frames, alpha=255).to(torch.uint8)
