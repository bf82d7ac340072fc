"""Linear projector from the latents of a video to the visual tokens of a video language model (Latent-INR, Eq. 7)."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_inr.types import TokenSpace

LEAST_SQUARES_ROUNDS = 8  # of least squares, alternating between the linear layer and the parameters of the slots


class Projector(nn.Module, ABC):
    """Latents (N, D) of the N sampled frames -> visual tokens (K, d), through one linear layer; batches (B, N, D) too.

    The frames form units, and each unit gives `slots` tokens. The input of the linear layer for a slot, P numbers, is
    the unit's latents, transformed by q parameters of the slot, plus a shift of the slot.
    """

    def __init__(self, slots: int, inputs: int, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(slots, inputs))
        self.linear = nn.Linear(inputs, width)

    @abstractmethod
    def slot_inputs(self, latents: Tensor) -> Tensor:
        """(B, N, D) -> (units, slots, P), the input of the linear layer without the shift."""

    @abstractmethod
    def gather(self, latents: list[Tensor], tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Combine the latents (N, D) and tokens (K, d) of several videos to a batch: (B, N, D) and (B, K, d)."""

    @abstractmethod
    def _slot_equations(self, latents: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
        """Least-squares matrices (q, q) and (q, P) for a slot's parameters, given gram = weight.T @ weight (P, P)."""

    @abstractmethod
    def _right_hand_side(self, latents: Tensor, back_projected: Tensor) -> Tensor:
        """Right-hand side (q,) of these equations; `back_projected` (units, P): the slot's tokens times the weight."""

    @property
    @abstractmethod
    def _slot_parameters(self) -> Tensor | None:
        """(slots, q): the parameters with which each slot transforms the latents; None if there are none."""

    def forward(self, latents: Tensor) -> Tensor:
        """(N, D) -> (K, d), or (B, N, D) -> (B, K, d)."""
        batch = latents if latents.ndim == 3 else latents[None]
        tokens = self.linear(self.slot_inputs(batch) + self.shift)
        return tokens.reshape(*latents.shape[:-2], -1, tokens.shape[-1])

    @torch.no_grad()
    def init_least_squares(self, latents: Tensor, tokens: Tensor, ridge: float = 1e-4) -> None:
        """Initialise near the best map from `latents` (N, D) or (B, N, D) to `tokens`, by alternating least squares.

        `ridge` penalises the size of the linear layer's weight, relative to the mean variance of its input.
        """
        batch = (latents if latents.ndim == 3 else latents[None]).double()
        target = tokens.reshape(-1, len(self.shift), tokens.shape[-1])
        self._init_slots(batch)
        for round_number in range(LEAST_SQUARES_ROUNDS):
            if round_number:
                self._solve_slots(batch, target, ridge)
            self._solve_linear(batch, target, ridge)

    def _init_slots(self, latents: Tensor) -> None:
        """Set random shifts with the RMS value of the latents: slots that start equal would stay equal."""
        nn.init.normal_(self.shift, std=float(latents.square().mean().sqrt()))

    def _solve_linear(self, latents: Tensor, target: Tensor, ridge: float) -> None:
        inputs = self.slot_inputs(latents.to(self.shift.dtype)) + self.shift
        input_mean, target_mean = inputs.mean((0, 1)).double(), target.mean((0, 1)).double()
        normal = input_mean.new_zeros(len(input_mean), len(input_mean))
        right_side = input_mean.new_zeros(len(input_mean), len(target_mean))
        for slot in range(target.shape[1]):  # slot by slot: a centred copy of all may not fit in memory
            centred = inputs[:, slot] - input_mean
            normal += centred.T @ centred
            right_side += centred.T @ (target[:, slot] - target_mean)
        weight = torch.linalg.solve(_damped(normal, ridge), right_side).T
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(target_mean - weight @ input_mean)

    def _solve_slots(self, latents: Tensor, target: Tensor, ridge: float) -> None:
        """Solve for each slot's shift and parameters, near their present values, with the linear layer fixed."""
        weight, bias = self.linear.weight.double(), self.linear.bias.double()
        gram, units = weight.T @ weight, len(target)
        parameters, shift = self._slot_parameters, self.shift
        normal, present = units * gram, shift.detach()
        if parameters is not None:
            parameter_block, cross = self._slot_equations(latents, gram)
            normal = torch.cat([torch.cat([parameter_block, cross], 1), torch.cat([cross.T, normal], 1)])
            present = torch.cat([parameters, shift], 1)
        right_side = present.new_zeros(present.shape, dtype=torch.float64)
        for slot in range(target.shape[1]):
            back_projected = (target[:, slot].double() - bias) @ weight
            parameter_side = [] if parameters is None else [self._right_hand_side(latents, back_projected)]
            right_side[slot] = torch.cat([*parameter_side, back_projected.sum(0)])
        present = present.double()
        change = torch.linalg.solve(_damped(normal, ridge), (right_side - present @ normal).T).T
        solved = present + change
        if parameters is not None:
            parameters.copy_(solved[:, : parameters.shape[1]])
        shift.copy_(solved[:, -shift.shape[1] :])


class FixedTokens(Projector):
    """K tokens of the whole clip, from a learned mixture (K, N) of the frames' latents (Latent-INR for Video-LLaMA).

    The mixture is the identity where N = K.
    """

    def __init__(self, latent_dim: int, frames: int, tokens: int, width: int) -> None:
        super().__init__(tokens, latent_dim, width)
        self.mixture = None if frames == tokens else nn.Parameter(torch.full((tokens, frames), 1 / frames))

    def slot_inputs(self, latents: Tensor) -> Tensor:
        """(B, N, D) -> (B, K, D)."""
        return latents if self.mixture is None else self.mixture @ latents

    def gather(self, latents: list[Tensor], tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Stack the videos, which all have the same number of sampled frames."""
        return torch.stack(latents), torch.stack(tokens)

    def _init_slots(self, latents: Tensor) -> None:
        super()._init_slots(latents)
        if self.mixture is not None:
            nn.init.normal_(self.mixture, std=self.mixture.shape[1] ** -0.5)

    @property
    def _slot_parameters(self) -> Tensor | None:
        return self.mixture

    def _slot_equations(self, latents: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
        cross = latents @ gram
        return (cross @ latents.mT).sum(0), cross.sum(0)

    def _right_hand_side(self, latents: Tensor, back_projected: Tensor) -> Tensor:
        return torch.einsum("bnp,bp->n", latents, back_projected)


class FrameTokens(Projector):
    """m tokens of each group of frames: token i is linear(latents * gate[i] + shift[i]), the latents concatenated.

    Factorised: a separate linear map per slot would be m times as large. Videos may have any number of groups.
    """

    def __init__(self, latent_dim: int, frames: int, tokens: int, width: int) -> None:
        super().__init__(tokens, latent_dim * frames, width)
        self.gate = nn.Parameter(torch.ones(tokens, latent_dim * frames))

    def slot_inputs(self, latents: Tensor) -> Tensor:
        """(B, N, D) -> (groups of all B, m, P)."""
        return self._units(latents)[:, None] * self.gate

    def gather(self, latents: list[Tensor], tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Concatenate the videos in time, as if they were one: their lengths may differ."""
        return torch.cat(latents)[None], torch.cat(tokens)[None]

    def _init_slots(self, latents: Tensor) -> None:
        super()._init_slots(latents)
        nn.init.normal_(self.gate, mean=1.0, std=0.5)

    @property
    def _slot_parameters(self) -> Tensor:
        return self.gate

    def _slot_equations(self, latents: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
        units = self._units(latents)
        return gram * (units.T @ units), units.sum(0)[:, None] * gram

    def _right_hand_side(self, latents: Tensor, back_projected: Tensor) -> Tensor:
        return (self._units(latents) * back_projected).sum(0)

    def _units(self, latents: Tensor) -> Tensor:
        return latents.reshape(-1, self.gate.shape[1])


class TokenLayout(NamedTuple):
    """The properties of a token space that determine a projector's shape; videos of one layout can share one."""

    whole_clip: bool  # tokens depend on the whole clip, not on a group of its frames
    frames: int  # per group, or per clip
    tokens: int  # per group, or per clip
    width: int


def token_layout(space: TokenSpace) -> TokenLayout:
    """The layout of a token space; ValueError if its groups are not of equal size."""
    groups = space.groups or 1
    if space.tokens % groups or space.sampling.frames % groups:
        raise ValueError(f"{space.tokens} tokens of {space.sampling.frames} frames in {groups} groups")
    return TokenLayout(not space.groups, space.sampling.frames // groups, space.tokens // groups, space.width)


def projector_for(latent_dim: int, space: TokenSpace) -> Projector:
    """An untrained projector from latents of `latent_dim` numbers to the tokens of `space`."""
    whole_clip, *sizes = token_layout(space)
    return FixedTokens(latent_dim, *sizes) if whole_clip else FrameTokens(latent_dim, *sizes)


def _damped(normal: Tensor, ridge: float) -> Tensor:
    """Matrix of normal equations with `ridge` times its mean diagonal added to the diagonal."""
    diagonal = normal.diagonal()
    return normal + torch.eye(len(normal), dtype=normal.dtype, device=normal.device) * (ridge * diagonal.mean() + 1e-12)
