"""The interface of every video representation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_inr.devices import fast_bfloat16, full_precision
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.nn.projector import Projector, projector_for
from lightning_inr.types import EmbeddingSpace, FrameBatch, GridLayout, TokenSpace, VideoShape, Window

ROLES = (
    "latents",
    "embeddings",
    "hyper",
    "grid",
    "base",
    "semantic",
    "projector",
)  # of tensors, in the order of the file
HEADS = {
    "semantic_head": "semantic",
    "projector": "projector",
}  # modules that may be added after construction, with their roles
PLACE_ROLES = ("latents", "embeddings", "grid")  # their tensors have axes of time or space; those of weights have not
# Pixels rendered at once: bounds the memory of decoding at any resolution.
PIXELS_AT_ONCE = 2**18
FRAMES_PER_BAND = 8  # where a frame needs several bands, this many frames share what `prepare` computes for each


class VideoRepresentation(nn.Module, ABC):
    """A network that represents one video and renders its frames from frame positions.

    A frame position is a float time in units of frames (3.5 lies between frames 3 and 4).
    """

    Config: ClassVar[type[Any]]  # frozen dataclass of JSON values
    size_knobs: ClassVar[Sequence[str]] = (
        "channels",
    )  # options that are adjusted to reach a given size: first coarse, then fine
    aux_weights: ClassVar[Mapping[str, float]] = {}  # loss weights of the training outputs besides `final`

    def __init__(self, video: VideoShape, config: Any) -> None:
        super().__init__()
        self.video, self.config = video, config
        self.embedding_space: EmbeddingSpace | None = None  # of `frame_embeddings`; None: not aligned
        self.semantic_head: nn.Linear | None = None  # None, too, where latents are as wide as the space
        self.token_space: TokenSpace | None = None  # of `visual_tokens`; None: no projector
        self.projector: Projector | None = None

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
            role = HEADS.get(name.partition(".")[0]) or self.role_of(name)
            if role is not None:
                groups[role].append(name)
        return {role: names for role, names in groups.items() if names}

    def decoder_only(self) -> None:
        """Remove what only training needs, so that the state dict is the coded groups; by default nothing."""

    @property
    def passes_per_frame(self) -> int:
        """The number of decoder passes for one frame rendered alone."""
        return 1

    def latent(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> latents (B, D); UserError if the model has no latents per frame."""
        raise UserError(f"{type(self).__name__} has no latents; choose a model with latents, such as model=latent_inr")

    def pool_latents(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> (B, D), the input of `project_semantic`: the latent, or its mean over the cells."""
        return self.latent(index)

    def align(self, space: EmbeddingSpace) -> None:
        """Set the embedding `space`: the latent itself where it is as wide (Latent-INR, Eq. 6), else a linear head."""
        width = self._pooled_width
        self.embedding_space = space
        self.semantic_head = nn.Linear(width, space.width) if width != space.width else None

    @property
    def _pooled_width(self) -> int:
        return self.pool_latents(torch.zeros(1, device=self.device)).shape[1]

    def frame_embeddings(self, index: Tensor) -> Tensor:
        """Frame positions (B,) -> embeddings (B, S), not normalised, for retrieval; UserError if it is not aligned."""
        return self.project_semantic(self.pool_latents(index))

    def training_embeddings(self, index: Tensor, frames: Tensor) -> Tensor:
        """Embeddings (B, S) that training compares with the teacher embeddings of `frames` (B, 3, h, w)."""
        return self.frame_embeddings(index)

    def project_semantic(self, latents: Tensor) -> Tensor:
        """(B, D) -> (B, S), in float32 even under autocast; UserError if the model is not aligned."""
        if self.embedding_space is None:
            raise UserError("no teacher has aligned this model; fit it with module=alignment teacher=clip")
        with full_precision(latents.device):
            return latents.float() if self.semantic_head is None else self.semantic_head(latents.float())

    def attach_projector(self, space: TokenSpace) -> None:
        """Add an untrained projector into the token `space` of a video language model."""
        self.token_space, self.projector = space, projector_for(self._pooled_width, space)

    def sample_positions(self, frames: int) -> Tensor:
        """Frame positions (N,) of N = `frames` whole frames spaced evenly over the video."""
        places = torch.arange(frames, dtype=torch.float64, device=self.device)  # no copy from the host, which waits
        return (places * (self.video.frames - 1) / max(1, frames - 1)).round().float()

    def visual_tokens(self) -> Tensor:
        """The visual tokens of this video for a video language model, (K, d) float32; UserError without projector."""
        if self.token_space is None or self.projector is None:
            raise UserError("it has no projector to a video language model; add one with task=align video_llm=…")
        with full_precision(self.device):
            return self.projector(self.pool_latents(self.sample_positions(self.token_space.sampling.frames)).float())

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

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

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
