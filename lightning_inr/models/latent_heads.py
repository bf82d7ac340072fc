"""The latents of a video representation, and their two linear heads: into a teacher's space, and to visual tokens."""

import torch
from torch import Tensor, nn

from lightning_inr.devices import full_precision
from lightning_inr.errors import UserError
from lightning_inr.nn.projector import Projector, projector_for
from lightning_inr.types import EmbeddingSpace, TokenSpace, VideoShape

# Modules that may be added after construction, with their roles. Attributes of the representation itself, as files
# hold the names of tensors.
HEAD_ROLES = {"semantic_head": "semantic", "projector": "projector"}


class LatentHeads(nn.Module):
    """What search and chat read of a representation of `video`: nothing here renders a frame."""

    def __init__(self, video: VideoShape) -> None:
        super().__init__()
        self.video = video
        self.embedding_space: EmbeddingSpace | None = None  # of `frame_embeddings`; None: not aligned
        self.semantic_head: nn.Linear | None = None  # None, too, where latents are as wide as the space
        self.token_space: TokenSpace | None = None  # of `visual_tokens`; None: no projector
        self.projector: Projector | None = None

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

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
