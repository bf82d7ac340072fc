"""The interface of every video representation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_inr.devices import fast_bfloat16
from lightning_inr.errors import BitstreamError
from lightning_inr.models.latent_heads import HEAD_ROLES, LatentHeads
from lightning_inr.types import FrameBatch, GridLayout, VideoShape, Window

# Of tensors, in the order of the file.
ROLES = ("latents", "embeddings", "hyper", "grid", "base", "semantic", "projector")
PLACE_ROLES = ("latents", "embeddings", "grid")  # their tensors have axes of time or space; those of weights have not
# Pixels rendered at once: bounds the memory of decoding at any resolution.
PIXELS_AT_ONCE = 2**18
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

    @torch.inference_mode()
    def render(self, index: Iterable[float], size: tuple[int, int] | None = None) -> Iterator[Tensor]:
        """Yield the frames at `index` as (3, h, w) uint8 on the CPU, in bounded memory.

        A frame too large to render at once is rendered in bands, if the model can render windows alone.
        """
        height, width = size or (self.video.height, self.video.width)
        rows = min(height, max(1, PIXELS_AT_ONCE // width)) if self.is_pixelwise else height
        bands = [Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows)]
        pixels = height * width if self.is_pixelwise else max(height * width, math.prod(self.padded_size))
        batch = max(1, PIXELS_AT_ONCE // pixels)
        shared: Any = None  # kept for whole frames only: that of many bands would not fit in memory
        positions = torch.tensor(list(index), dtype=torch.float32)
        for chosen in positions.split(batch if len(bands) == 1 else FRAMES_PER_BAND) if len(positions) else ():
            rendered, parts = [], list(zip(chosen.to(self.device).split(batch), chosen.split(batch), strict=True))
            sums = []  # not finite if any value is not: checked once, when the frames are copied to the host
            with torch.autocast(self.device.type, torch.bfloat16, enabled=fast_bfloat16(self.device)):
                for window in bands:
                    if shared is None or len(bands) > 1:
                        shared = self.prepare(size, window)
                    band = []
                    for part, on_host in parts:
                        self.prepare_batch(shared, on_host.tolist())
                        frames = self(part, size, window, shared)
                        band.append(_to_bytes(frames))
                        sums.append(frames.sum())
                    rendered.append(torch.cat(band))
            finished = (rendered[0] if len(bands) == 1 else torch.cat(rendered, dim=2)).cpu()
            if not torch.stack(sums).isfinite().all():
                raise BitstreamError(f"damaged .linr: frames from {chosen[0]:g} on hold numbers that are not finite")
            yield from finished


def _to_bytes(frames: Tensor) -> Tensor:
    # Rounded in one pass without a clamp: `forward` returns values in [0, 1].
    return torch.add(frames.new_full((), 0.5), frames, alpha=255).to(torch.uint8)
