"""What every video representation promises, whatever the paper it comes from."""

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
HEADS = {"semantic_head": "semantic", "projector": "projector"}  # what a model may be given after it is built
PLACE_ROLES = ("latents", "embeddings", "grid")  # whose tensors' axes are time or space; those of weights are neither
# Pixels painted in one go: bounds the memory of decoding at any resolution.
PIXELS_AT_ONCE = 2**18
FRAMES_PER_BAND = 8  # where a frame needs several bands, this many frames share the work of each


class VideoRepresentation(nn.Module, ABC):
    """A network that *is* one video: it paints any of its frames from a position in time.

    Time is a float frame position (3.5 lies between frames 3 and 4).
    """

    Config: ClassVar[type[Any]]  # frozen dataclass of JSON values
    size_knobs: ClassVar[Sequence[str]] = (
        "channels",
    )  # options by which a wanted size is met: first coarse, then fine
    aux_weights: ClassVar[Mapping[str, float]] = {}  # of what training compares with the frame besides the result

    def __init__(self, video: VideoShape, config: Any) -> None:
        super().__init__()
        self.video, self.config = video, config
        self.embedding_space: EmbeddingSpace | None = None  # of what `semantic` says; None: it says nothing
        self.semantic_head: nn.Linear | None = None  # None too where latents are as wide as the space
        self.token_space: TokenSpace | None = None  # of what `tokens` says; None: it has no projector
        self.projector: Projector | None = None

    @abstractmethod
    def reset_parameters(self) -> None:
        """Set the starting values of every parameter; construction alone leaves them open."""

    def init_output_colour(self, colour: Tensor) -> None:
        """Paint everything in `colour`, RGB (3,) in [0, 1], before anything is learned; nothing by default."""

    @abstractmethod
    def forward(
        self,
        index: Tensor,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        prepared: Any = None,
    ) -> Tensor:
        """index (B,) -> RGB (B, 3, h, w) in [0, 1], from coded tensors and nothing else.

        `size` is the frame's (height, width), native by default. `window` cuts a rectangle out of the frame of
        that size. `prepared` saves work: what `prepare` gave for the same size and window.
        """

    def role_of(self, name: str) -> str | None:
        """The role, one of ROLES, of a tensor of the state dict; None if only training needs it."""
        return "base"

    def grid_layout(self, name: str) -> GridLayout | None:
        """How the tensor `name` of the state dict lies in time and place; None if it is no table of both."""
        return None

    def coded_groups(self) -> Mapping[str, list[str]]:
        """role -> names in the state dict; together they name every tensor a decoder uses, once."""
        groups: dict[str, list[str]] = {role: [] for role in ROLES}
        for name in self.state_dict():
            role = HEADS.get(name.partition(".")[0]) or self.role_of(name)
            if role is not None:
                groups[role].append(name)
        return {role: names for role, names in groups.items() if names}

    def decoder_only(self) -> None:
        """Drop what only training needs: the state dict is then the coded groups; nothing by default."""

    @property
    def passes_per_frame(self) -> int:
        """How many passes of the decoder one frame costs, asked for alone."""
        return 1

    def latent(self, index: Tensor) -> Tensor:
        """Float positions (B,) -> (B, D), where a frame has a latent of its own; UserError where none has."""
        raise UserError(f"{type(self).__name__} has no latents; choose a model that has, as model=latent_inr")

    def pool_latents(self, index: Tensor) -> Tensor:
        """Float positions (B,) -> (B, D), what `semantic` is made of: the latent, or its mean over a frame's cells."""
        return self.latent(index)

    def align(self, space: EmbeddingSpace) -> None:
        """Give `semantic` a `space`: the latent itself where it is as wide (Latent-INR, Eq. 6), else a linear head."""
        width = self._pooled_width
        self.embedding_space = space
        self.semantic_head = nn.Linear(width, space.width) if width != space.width else None

    @property
    def _pooled_width(self) -> int:
        return self.pool_latents(torch.zeros(1, device=self.device)).shape[1]

    def frame_embeddings(self, index: Tensor) -> Tensor:
        """Float positions (B,) -> (B, S), of any length: what retrieval reads; UserError if nothing aligned it."""
        return self.project_semantic(self.pool_latents(index))

    def training_embeddings(self, index: Tensor, frames: Tensor) -> Tensor:
        """What training compares with a teacher's view of `frames` (B, 3, h, w): (B, S)."""
        return self.frame_embeddings(index)

    def project_semantic(self, latents: Tensor) -> Tensor:
        """(B, D) -> (B, S), in float32 whatever the autocast."""
        if self.embedding_space is None:
            raise UserError("no teacher has aligned this model; fit it with module=alignment teacher=clip")
        with full_precision(latents.device):
            return latents.float() if self.semantic_head is None else self.semantic_head(latents.float())

    def attach_projector(self, space: TokenSpace) -> None:
        """Give it a projector of its own, untrained, into the token `space` of a video language model."""
        self.token_space, self.projector = space, projector_for(self._pooled_width, space)

    def sample_positions(self, frames: int) -> Tensor:
        """Float positions (N,) of so many frames evenly spread over the video."""
        places = torch.arange(frames, dtype=torch.float64, device=self.device)  # made there: a copy would wait
        return (places * (self.video.frames - 1) / max(1, frames - 1)).round().float()

    def tokens(self) -> Tensor:
        """What a video language model reads of this video, (K, d) float32; UserError if it has no projector."""
        if self.token_space is None or self.projector is None:
            raise UserError("it has no projector to a video language model; add one with task=align video_llm=…")
        with full_precision(self.device):
            return self.projector(self.pool_latents(self.sample_positions(self.token_space.sampling.frames)).float())

    @property
    def is_pixelwise(self) -> bool:
        """Whether a window costs no more than its share of the frame: large frames are painted in bands then."""
        return False

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width it paints before cutting to the video's; larger where no stride divides them."""
        return self.video.height, self.video.width

    def reconstruct(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Tensor:
        """What training compares with `frames` (B, 3, h, w); models with an encoder override it."""
        return self(index, window=window)

    def training_outputs(self, index: Tensor, frames: Tensor, window: Window | None = None) -> Mapping[str, Tensor]:
        """All that training compares with `frames`: `final`, and what `view_weights` names."""
        return {"final": self.reconstruct(index, frames, window)}

    def store_embeddings(self, batches: Iterable[FrameBatch]) -> None:
        """Take from the seen frames what `forward` needs besides trained parameters; nothing by default."""

    def roles(self) -> dict[str, list[nn.Parameter]]:
        """role -> parameters: the optimiser's groups; those of training alone are the role `encoder`."""
        named = dict(self.named_parameters())
        roles = {
            role: [named.pop(name) for name in names if name in named] for role, names in self.coded_groups().items()
        }
        return roles | ({"encoder": list(named.values())} if named else {})

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def prepare(self, size: tuple[int, int] | None = None, window: Window | None = None) -> Any:
        """What all frames share at one size and window, for `forward` to take as `prepared`; None if nothing."""
        return None

    def prepare_batch(self, prepared: Any, positions: Sequence[float]) -> None:
        """Have `prepared` hold what the next call of `forward`, at these positions, shares with those before.

        Positions are numbers of the host: `forward`, which sees a tensor of the device, would have to wait for them.
        """

    @torch.inference_mode()
    def render(self, index: Iterable[float], size: tuple[int, int] | None = None) -> Iterator[Tensor]:
        """Yield the frames at `index` as (3, h, w) uint8 on the CPU, in bounded memory.

        A frame too large to paint at once is painted in bands, where the model can paint windows alone.
        """
        height, width = size or (self.video.height, self.video.width)
        rows = min(height, max(1, PIXELS_AT_ONCE // width)) if self.is_pixelwise else height
        bands = [Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows)]
        painted_pixels = height * width if self.is_pixelwise else max(height * width, math.prod(self.padded_size))
        batch = max(1, PIXELS_AT_ONCE // painted_pixels)
        shared: Any = None  # of the whole frame; that of many bands would not fit in memory at once
        positions = torch.tensor(list(index), dtype=torch.float32)
        for chosen in positions.split(batch if len(bands) == 1 else FRAMES_PER_BAND):
            painted, parts = [], list(zip(chosen.to(self.device).split(batch), chosen.split(batch), strict=True))
            sums = []  # not finite where a number is not: looked at once, when the frames are fetched anyway
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
                    painted.append(torch.cat(band))
            finished = (painted[0] if len(bands) == 1 else torch.cat(painted, dim=2)).cpu()
            if not torch.stack(sums).isfinite().all():
                raise BitstreamError(f"damaged .linr: frames from {chosen[0]:g} on hold numbers that are not finite")
            yield from finished


def _to_bytes(frames: Tensor) -> Tensor:
    # Rounded in one pass and without a clamp: `forward` promises [0, 1].
    return torch.add(frames.new_full((), 0.5), frames, alpha=255).to(torch.uint8)
