"""Linear projector from the latents of a video to the visual tokens of a video language model (Latent-INR, Eq. 7)."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_inr.types import TokenSpace

ROUNDS = 8  # of least squares, alternating between the linear layer and the parameters of the slots


class Projector(nn.Module, ABC):
    """Latents (N, D) of the N sampled frames -> visual tokens (K, d), through one linear layer; batches (B, N, D) too.

    The frames form units, and each unit gives `slots` tokens. The input of the linear layer for a slot, P numbers, is
    the unit's latents, transformed by q parameters of the slot, plus a shift of the slot.
    """

    def __init__(self, slots: int, entering: int, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(slots, entering))
        self.linear = nn.Linear(entering, width)

    @abstractmethod
    def slotted(self, latents: Tensor) -> Tensor:
        """(B, N, D) -> (units, slots, P), the input of the linear layer without the shift."""

    @abstractmethod
    def gather(self, latents: list[Tensor], tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Combine the latents (N, D) and tokens (K, d) of several videos to a batch: (B, N, D) and (B, K, d)."""

    @abstractmethod
    def _slot_equations(self, latents: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
        """Least-squares matrices (q, q) and (q, P) for a slot's parameters, given gram = weight.T @ weight (P, P)."""

    @abstractmethod
    def _pulled(self, latents: Tensor, back: Tensor) -> Tensor:
        """Right-hand side (q,) of that least squares, from `back` (units, P), the slot's tokens times the weight."""

    @property
    @abstractmethod
    def _ways(self) -> Tensor | None:
        """(slots, q): the parameters with which each slot transforms the latents; None if there are none."""

    def forward(self, latents: Tensor) -> Tensor:
        """(N, D) -> (K, d), or (B, N, D) -> (B, K, d)."""
        batch = latents if latents.ndim == 3 else latents[None]
        tokens = self.linear(self.slotted(batch) + self.shift)
        return tokens.reshape(*latents.shape[:-2], -1, tokens.shape[-1])

    @torch.no_grad()
    def begin(self, latents: Tensor, tokens: Tensor, ridge: float = 1e-4) -> None:
        """Initialise near the best map from `latents` (N, D) or (B, N, D) to `tokens`, by alternating least squares.

        `ridge` penalises the size of the linear layer's weight, relative to the mean variance of its input.
        """
        batch = (latents if latents.ndim == 3 else latents[None]).double()
        target = tokens.reshape(-1, len(self.shift), tokens.shape[-1])
        self._tell_apart(batch)
        for turn in range(ROUNDS):
            if turn:
                self._solve_slots(batch, target, ridge)
            self._solve_linear(batch, target, ridge)

    def _tell_apart(self, latents: Tensor) -> None:
        """Set random shifts with the RMS value of the latents: slots that start equal would stay equal."""
        nn.init.normal_(self.shift, std=float(latents.square().mean().sqrt()))

    def _solve_linear(self, latents: Tensor, target: Tensor, ridge: float) -> None:
        entering = self.slotted(latents.to(self.shift.dtype)) + self.shift
        middle, goal = entering.mean((0, 1)).double(), target.mean((0, 1)).double()
        square = middle.new_zeros(len(middle), len(middle))
        right = middle.new_zeros(len(middle), len(goal))
        for slot in range(target.shape[1]):  # slot by slot: a centred copy of all may not fit in memory
            centred = entering[:, slot] - middle
            square += centred.T @ centred
            right += centred.T @ (target[:, slot] - goal)
        weight = torch.linalg.solve(_damped(square, ridge), right).T
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(goal - weight @ middle)

    def _solve_slots(self, latents: Tensor, target: Tensor, ridge: float) -> None:
        """Solve for each slot's shift and parameters, near their present values, with the linear layer fixed."""
        weight, bias = self.linear.weight.double(), self.linear.bias.double()
        gram, units = weight.T @ weight, len(target)
        ways, shift = self._ways, self.shift
        square, known = units * gram, shift.detach()
        if ways is not None:
            own, cross = self._slot_equations(latents, gram)
            square = torch.cat([torch.cat([own, cross], 1), torch.cat([cross.T, square], 1)])
            known = torch.cat([ways, shift], 1)
        right = known.new_zeros(known.shape, dtype=torch.float64)
        for slot in range(target.shape[1]):
            back = (target[:, slot].double() - bias) @ weight
            pulled = [] if ways is None else [self._pulled(latents, back)]
            right[slot] = torch.cat([*pulled, back.sum(0)])
        before = known.double()
        change = torch.linalg.solve(_damped(square, ridge), (right - before @ square).T).T
        solved = before + change
        if ways is not None:
            ways.copy_(solved[:, : ways.shape[1]])
        shift.copy_(solved[:, -shift.shape[1] :])


class FixedTokens(Projector):
    """K tokens of the whole clip, from a learned mixture (K, N) of the frames' latents (Latent-INR for Video-LLaMA).

    The mixture is the identity where N = K.
    """

    def __init__(self, latent_dim: int, frames: int, tokens: int, width: int) -> None:
        super().__init__(tokens, latent_dim, width)
        self.mixture = None if frames == tokens else nn.Parameter(torch.full((tokens, frames), 1 / frames))

    def slotted(self, latents: Tensor) -> Tensor:
        """(B, N, D) -> (B, K, D)."""
        return latents if self.mixture is None else self.mixture @ latents

    def gather(self, latents: list[Tensor], tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Stack the videos, which all have the same number of sampled frames."""
        return torch.stack(latents), torch.stack(tokens)

    def _tell_apart(self, latents: Tensor) -> None:
        super()._tell_apart(latents)
        if self.mixture is not None:
            nn.init.normal_(self.mixture, std=self.mixture.shape[1] ** -0.5)

    @property
    def _ways(self) -> Tensor | None:
        return self.mixture

    def _slot_equations(self, latents: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
        cross = latents @ gram
        return (cross @ latents.mT).sum(0), cross.sum(0)

    def _pulled(self, latents: Tensor, back: Tensor) -> Tensor:
        return torch.einsum("bnp,bp->n", latents, back)


class FrameTokens(Projector):
    """m tokens of each group of frames: token i is linear(latents * gate[i] + shift[i]), the latents concatenated.

    Factorised: a separate linear map per slot would be m times as large. Videos may have any number of groups.
    """

    def __init__(self, latent_dim: int, frames: int, tokens: int, width: int) -> None:
        super().__init__(tokens, latent_dim * frames, width)
        self.gate = nn.Parameter(torch.ones(tokens, latent_dim * frames))

    def slotted(self, latents: Tensor) -> Tensor:
        """(B, N, D) -> (groups of all B, m, P)."""
        return self._units(latents)[:, None] * self.gate

    def gather(self, latents: list[Tensor], tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Concatenate the videos in time, as if they were one: their lengths may differ."""
        return torch.cat(latents)[None], torch.cat(tokens)[None]

    def _tell_apart(self, latents: Tensor) -> None:
        super()._tell_apart(latents)
        nn.init.normal_(self.gate, mean=1.0, std=0.5)

    @property
    def _ways(self) -> Tensor:
        return self.gate

    def _slot_equations(self, latents: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
        units = self._units(latents)
        return gram * (units.T @ units), units.sum(0)[:, None] * gram

    def _pulled(self, latents: Tensor, back: Tensor) -> Tensor:
        return (self._units(latents) * back).sum(0)

    def _units(self, latents: Tensor) -> Tensor:
        return latents.reshape(-1, self.gate.shape[1])


class Layout(NamedTuple):
    """The properties of a token space that determine a projector's shape; videos of one layout can share one."""

    whole: bool  # tokens depend on the whole clip, not on a group of its frames
    frames: int  # per group, or per clip
    tokens: int  # per group, or per clip
    width: int


def layout(space: TokenSpace) -> Layout:
    """The layout of a token space; ValueError if its groups are not of equal size."""
    groups = space.groups or 1
    if space.tokens % groups or space.sampling.frames % groups:
        raise ValueError(f"{space.tokens} tokens of {space.sampling.frames} frames in {groups} groups")
    return Layout(not space.groups, space.sampling.frames // groups, space.tokens // groups, space.width)


def projector_for(latent_dim: int, space: TokenSpace) -> Projector:
    """An untrained projector from latents of `latent_dim` numbers to the tokens of `space`."""
    whole, *sizes = layout(space)
    return FixedTokens(latent_dim, *sizes) if whole else FrameTokens(latent_dim, *sizes)


def _damped(square: Tensor, ridge: float) -> Tensor:
    """Matrix of normal equations with `ridge` times its mean diagonal added to the diagonal."""
    diagonal = square.diagonal()
    return square + torch.eye(len(square), dtype=square.dtype, device=square.device) * (ridge * diagonal.mean() + 1e-12)
