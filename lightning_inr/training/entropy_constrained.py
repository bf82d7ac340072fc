"""Training for rate and distortion together: D + λ R (C-NeRV, Gomes et al., CVPR 2023, section 3).

Each coded tensor learns the step of its own grid and the offset. The distortion sees rounded weights, with
straight-through gradients; the rate sees noise in place of rounding, under a density fitted to the tensor.
"""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Adam

from lightning_inr.codec import Codec, Step, side_bytes
from lightning_inr.codec.density import DENSITIES
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.fit import FitModule
from lightning_inr.training.rounding import Rounding

# What changes slowly is worked out seldom; in between, the last of it serves.
STEPS_BETWEEN_ROUNDINGS = 4
STEPS_BETWEEN_RATES = 16  # a multiple of it
STEPS_BETWEEN_ESTIMATES = 256  # of the file's size


class EntropyConstrained(Rounding):
    """From `start` of the budget on, adds `rate_weight` times the bits a pixel to the loss.

    `density` names what is fitted to each tensor (codec.density); `step_learning_rate` is of the logarithm of steps.
    """

    def __init__(
        self,
        codec: Codec,
        rate_weight: float,
        start: float = 0.25,
        density: str = "factorised",
        step_learning_rate: float = 0.02,
    ) -> None:
        super().__init__(codec, start)
        if not rate_weight > 0:
            raise UserError(f"rate_weight={rate_weight}: choose a number above 0")
        if density not in DENSITIES:
            raise UserError(f"density={density}: choose one of {', '.join(DENSITIES)}")
        self.rate_weight, self.bits_of, self.step_learning_rate = rate_weight, DENSITIES[density], step_learning_rate
        self.origin: list[Step] = []  # the grids it begins with: the codec's steps, around each tensor's mean
        self.grid = nn.Parameter(torch.empty(0, 2))  # log(size / first size), (offset - first offset) / first size
        self.optimizer: Adam | None = None
        self._rate: list[Tensor] = []  # gradient of the bits with respect to each weight
        self._slope = torch.empty(0)  # gradient of the distortion with respect to log(size), summed over steps

    def steps(self) -> Mapping[str, Step]:
        """Each tensor's learned grid; none before `start`."""
        grids = zip(self.entries, self.origin, self.grid.tolist(), strict=False)
        return {
            entry.name: Step(first.size * math.exp(growth), first.offset + shift * first.size)
            for entry, first, (growth, shift) in grids
        }

    def round_weights(self, step: int) -> None:
        """Bring `errors` up to date, every few steps."""
        if self.errors and step % STEPS_BETWEEN_ROUNDINGS:
            return
        if not self.origin:
            self._begin_grids()
        sizes, offsets = (list(column) for column in zip(*self.steps().values(), strict=True))
        seen = torch._foreach_sub(self.weights, offsets)
        torch._foreach_div_(seen, sizes)
        torch._foreach_round_(seen)
        torch._foreach_mul_(seen, sizes)
        torch._foreach_add_(seen, offsets)
        self.errors = list(torch._foreach_sub(seen, self.weights))

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_after_backward(trainer, pl_module)
        if not self.begun:
            return
        assert isinstance(pl_module, FitModule)
        video = pl_module.net.video
        price = self.rate_weight / (video.frames * video.height * video.width)  # of a bit
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        assert len(gradients) == len(self.weights)  # every coded tensor is used, as every model promises
        if trainer.global_step % STEPS_BETWEEN_ROUNDINGS == 0:
            # A step's size moves what rounding adds in proportion: that is its gradient, straight through.
            slopes = torch._foreach_mul(gradients, self.errors)
            self._slope += torch.stack([slope.sum() for slope in slopes]).cpu()
        if trainer.global_step % STEPS_BETWEEN_RATES == 0:
            group = trainer.optimizers[0].param_groups[0]
            self._update(price, group["lr"] / group["base_lr"])
        if "bpp" not in pl_module.notes or trainer.global_step % STEPS_BETWEEN_ESTIMATES == 0:
            pl_module.notes["bpp"] = self.estimate(pl_module.net)
        if self._rate:
            torch._foreach_add_(gradients, self._rate, alpha=price)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        if self.begun:
            pl_module.notes["bpp"] = self.estimate(pl_module.net)

    @torch.no_grad()
    def estimate(self, net: VideoRepresentation) -> float:
        """Bits a pixel of the whole file: rounded weights under the density, and all else as it would be written."""
        bits = sum(float(self.bits_of(symbols).sum()) for symbols in self.codec.symbols(net, self.steps()))
        side = side_bytes(self.codec.encode(net, self.steps()))
        return (bits + 8 * side) / (net.video.frames * net.video.height * net.video.width)

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict() if self.optimizer else None
        origin = [tuple(step) for step in self.origin]
        return super().state_dict() | {"origin": origin, "grid": self.grid.detach(), "optimizer": optimizer}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if state_dict["origin"]:
            self._hold([Step(*step) for step in state_dict["origin"]], state_dict["grid"])
            assert self.optimizer is not None
            self.optimizer.load_state_dict(state_dict["optimizer"])

    def _begin_grids(self) -> None:
        origin = []
        for parameter, entry in zip(self.weights, self.entries, strict=True):
            span = float(parameter.max() - parameter.min())
            origin.append(Step(max(span, 1e-6) / ((entry.levels or 2) - 1), float(parameter.mean())))
        self._hold(origin, torch.zeros(len(origin), 2))

    def _hold(self, origin: list[Step], grid: Tensor) -> None:
        self.origin, self.grid = origin, nn.Parameter(grid)
        self.optimizer = Adam([self.grid], lr=self.step_learning_rate)
        self._slope = torch.zeros(len(origin))

    @torch.enable_grad()
    def _update(self, price: float, schedule: float) -> None:
        """Take the rate's gradients anew, and move the grids by those of rate and distortion."""
        assert self.optimizer is not None
        self._rate = []
        self.grid.grad = torch.zeros_like(self.grid)
        for row, (parameter, first) in enumerate(zip(self.weights, self.origin, strict=True)):
            value = parameter.detach().requires_grad_()
            growth, shift = self.grid[row]
            size, offset = first.size * growth.exp(), first.offset + shift * first.size
            bits = self.bits_of((value - offset) / size + torch.rand_like(value) - 0.5).sum()
            bits.backward()
            assert value.grad is not None
            self._rate.append(value.grad)
        self.grid.grad *= price
        self.grid.grad[:, 0] += self._slope * (STEPS_BETWEEN_ROUNDINGS / STEPS_BETWEEN_RATES)
        self._slope.zero_()
        for group in self.optimizer.param_groups:
            group["lr"] = schedule * self.step_learning_rate
        self.optimizer.step()
