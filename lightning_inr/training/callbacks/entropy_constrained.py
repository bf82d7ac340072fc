"""Training for rate and distortion together: D + λ R (C-NeRV, Gomes et al., CVPR 2023, section 3).

D: distortion; R: bits per pixel of the file; λ: `rate_weight`. Each coded tensor has a quantisation grid whose step
size and offset are trained. D is computed with rounded weights and straight-through gradients. R is computed with
uniform noise in place of rounding, under a density fitted to the tensor.
"""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Adam

from lightning_inr import cuda_graphs
from lightning_inr.codec import Codec, QuantizationStep, rounding_error
from lightning_inr.codec.contexts import CONTEXTS, all_positions, coded_magnitudes, contexts
from lightning_inr.codec.density import DENSITIES, laplace_slopes
from lightning_inr.codec.transform import from_coefficients, to_coefficients
from lightning_inr.cuda_graphs import RepeatedCall
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.training.callbacks.base import data_of, mean_over_ranks, one_of
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.file_targets import (
    FileTarget,
    Measurement,
    QualityTarget,
    SizeTarget,
    check_targets,
)
from lightning_inr.training.callbacks.weight_quantization import WeightQuantization
from lightning_inr.types import GridLayout

# Quantities that change slowly are computed once in so many intervals of `interval` steps, and reused in between.
# Tables over time have longer ones: they are large, and a step changes few of their slices.
RATE_INTERVALS, TABLE_ROUNDING_INTERVALS, TABLE_RATE_INTERVALS = 2, 2, 4
# An estimate of the file's size encodes the whole model: at most so many in a fit, with so many steps in between.
STEPS_BETWEEN_ESTIMATES, MOST_ESTIMATES = 512, 8
STEPS_BETWEEN_CORRECTIONS, MOST_CORRECTIONS = 48, 128  # of `rate_weight`, where a target makes use of them


class EntropyConstrained(WeightQuantization):
    """Adds `rate_weight` times the bits per pixel to the loss once the share `start` of the budget is spent.

    If `latest_start` is given, then after that many training steps at the latest: to a fit that has nearly no error,
    the rate is all of the gradient.
    `density`: the density fitted to each tensor, a key of `codec.density.DENSITIES`. `step_learning_rate`: Adam's
    learning rate for the logarithm of each step size, and for each offset in units of the first step size.
    `bpp`, `psnr`: a target for the file, its size in bits per pixel or its quality in dB; with a target, `rate_weight`
    is only the initial value and is adapted during training. `interval`: training steps between two roundings; between
    two gradients of the rate there are twice as many, four times for tables over time.
    """

    def __init__(
        self,
        codec: Codec,
        rate_weight: float,
        start: float = 0.25,
        density: str = "factorised",
        step_learning_rate: float = 0.08,
        bpp: float | None = None,
        psnr: float | None = None,
        interval: int = 8,
        latest_start: int | None = None,
    ) -> None:
        super().__init__(codec, start)
        if latest_start is not None and (type(latest_start) is not int or latest_start < 0):
            raise UserError(f"latest_start={latest_start}: choose a whole number of steps, or null")
        if type(interval) is not int or interval < 1:
            raise UserError(f"interval={interval}: choose a whole number of steps from 1")
        if not rate_weight > 0:
            raise UserError(f"rate_weight={rate_weight}: choose a number above 0")
        check_targets(bpp, psnr)
        if density not in DENSITIES:
            raise UserError(f"density={density}: choose one of {', '.join(DENSITIES)}")
        self.rate_weight, self.bits_of, self.step_learning_rate = rate_weight, DENSITIES[density], step_learning_rate
        self.bpp, self.psnr, self.interval, self.latest_start = bpp, psnr, interval, latest_start
        self.measurements: list[Measurement] = []  # of files during the fit, by the target
        self.target: FileTarget | None = None  # made of one of them when the fit starts
        self.origin: list[QuantizationStep] = []  # initial grids: the codec's step sizes, offset by each tensor's mean
        self.grid = nn.Parameter(torch.empty(0, 2))  # log(size / first size), (offset - first offset) / first size
        self.optimizer: Adam | None = None
        self.rate_gradients: list[Tensor] = []  # of the bits by each weight
        self._grid_rate: list[Tensor] = []  # gradient of the bits by each tensor's row of `grid`
        # With the tables over time and without.
        self._calls = {
            tables: RepeatedCall[list[tuple[Tensor, Tensor]]]("the gradient of the rate") for tables in (True, False)
        }
        self._estimated_at = 0.0  # share of the budget spent at the latest estimate of the size
        self._slope = torch.empty(0)  # gradient of the distortion by log(size), summed over training steps

    def steps(self) -> Mapping[str, QuantizationStep]:
        """Each tensor's trained grid, by the tensor's name; empty before `start`."""
        grids = zip(self.entries, self.origin, self.grid.tolist(), strict=False)
        return {
            entry.name: QuantizationStep(first.size * math.exp(growth), first.offset + shift * first.size)
            for entry, first, (growth, shift) in grids
        }

    def is_due(self, trainer: L.Trainer) -> bool:
        """Whether to use rounded weights and the rate from this step on."""
        late = self.latest_start is not None and trainer.global_step >= self.latest_start
        return late or super().is_due(trainer)

    def round_weights(self, step: int) -> None:
        """Update `errors` every `interval` steps."""
        if self.errors and step % self.interval:
            return
        if not self.origin:
            self._begin_grids()
        steps = list(self.steps().values())
        rows = [row for row, entry in enumerate(self.entries) if entry.layout is None]
        weights, sizes = [self.weights[row] for row in rows], [steps[row].size for row in rows]
        offsets = [steps[row].offset for row in rows]
        values = torch._foreach_sub(weights, offsets)
        torch._foreach_div_(values, sizes)
        torch._foreach_round_(values)
        torch._foreach_mul_(values, sizes)
        torch._foreach_add_(values, offsets)
        rounded = dict(zip(rows, torch._foreach_sub(values, weights), strict=True))
        tables = not self.errors or step % (TABLE_ROUNDING_INTERVALS * self.interval) == 0
        errors = []
        for row, entry in enumerate(self.entries):
            if entry.layout is None:
                errors.append(rounded[row])
            elif tables:
                errors.append(rounding_error(self.weights[row], entry.layout, steps[row].size, 0))
            else:
                errors.append(self.errors[row])
        self.errors = errors

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_after_backward(trainer, pl_module)
        if not self.started:
            return
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        assert len(gradients) == len(self.weights)  # every model uses all its coded tensors in each step
        price = self.bit_weight
        self.train_grids(trainer, gradients)
        if self.rate_gradients:
            torch._foreach_add_(gradients, self.rate_gradients, alpha=price)

    @property
    def bit_weight(self) -> float:
        """The weight of one bit of the file in the loss."""
        video = self.module.net.video
        return self.rate_weight / (video.frames * video.height * video.width)

    def train_grids(self, trainer: L.Trainer, gradients: list[Tensor]) -> None:
        """Update grids, gradients of the rate and the estimate of the size where they are due in this step.

        `gradients`: of the distortion, by each of `weights`.
        """
        if trainer.global_step % self.interval == 0:
            # Straight-through gradient: the rounding error is proportional to the step size.
            slopes = torch._foreach_mul(gradients, self.errors)
            self._slope += torch.stack([slope.sum() for slope in slopes])
        if trainer.global_step % (RATE_INTERVALS * self.interval) == 0:
            group = trainer.optimizers[0].param_groups[0]
            self._update(trainer, self.bit_weight, group["lr"] / group["base_lr"])
        if self._estimate_is_due(trainer.global_step, spent := one_of(trainer, Budget).spent):
            self._estimated_at = spent
            estimate = self._estimate(spent) if trainer.is_global_zero else (0.0, 0.0)
            self.module.extra_metrics["bpp"], self.rate_weight = trainer.strategy.broadcast(estimate)

    def _estimate_is_due(self, step: int, spent: float) -> bool:
        if "bpp" not in self.module.extra_metrics:
            return True
        without = self.target is None
        steps = STEPS_BETWEEN_ESTIMATES if without else STEPS_BETWEEN_CORRECTIONS
        most = MOST_ESTIMATES if without else MOST_CORRECTIONS
        return step % steps == 0 and spent >= self._estimated_at + 1 / most

    def _estimate(self, spent: float) -> tuple[float, float]:
        """Bits per pixel of the file if it were written now, and the rate weight to go on with."""
        data = self.codec.encode(self.module.net, self.steps())
        if self.target is None:
            return self._bpp_of(data), self.rate_weight
        return self._bpp_of(data), self.target.adapted(self.rate_weight, data, spent)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.started or not trainer.is_global_zero:  # rank 0 writes the file
            return
        data = self.codec.encode(self.module.net, self.steps())
        if isinstance(self.target, SizeTarget) and self.target.is_exceeded(data):
            self._shrink(self.module.net, self.target)
            data = self.codec.encode(self.module.net, self.steps())
        self.module.extra_metrics["bpp"] = self._bpp_of(data)
        if self.target is not None and (message := self.target.shortfall(data)):
            print(message)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.origin:  # of a checkpoint, which is read before the module is moved to its device
            assert self.optimizer is not None
            state = self.optimizer.state_dict()
            self._hold(self.origin, self.grid.detach().to(pl_module.device))
            self.optimizer.load_state_dict(state)
        if self.bpp is not None:
            self.target = SizeTarget(self.bpp, self.module.net, self.measurements)
            if not self.started:
                self._check_size(self.bpp)
        elif self.psnr is not None:
            self.target = QualityTarget(self.psnr, data_of(trainer).frames, self.measurements)

    def _check_size(self, bpp: float) -> None:
        """UserError for a size that no step size gives."""
        # The largest step size rounds all weights to one value; the smallest gives every symbol its maximum of bits.
        coarsest, finest = (dict.fromkeys(self._names, QuantizationStep(size, 0.0)) for size in (1e6, 1e-9))
        least, most = (self._bpp_of(self.codec.encode(self.module.net, steps)) for steps in (coarsest, finest))
        if not least < bpp < most:
            raise UserError(f"bpp={bpp:g}: this model and video allow {least:.4f} to {most:.2f} bits per pixel")

    @property
    def _names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def _shrink(self, net: VideoRepresentation, target: SizeTarget) -> None:
        """Multiply all step sizes by one factor above 1 until the file is at most 10 % too large."""
        # A tenth larger steps cost 0.2 to 2.4 dB, since weights are trained for their own. Smaller ones cost more, and
        # add bits: they code what rounding has hidden from the training.
        low, high = 1.0, 16.0
        while high / low > 1.005:
            scale = math.sqrt(low * high)
            steps = {name: QuantizationStep(step.size * scale, step.offset) for name, step in self.steps().items()}
            low, high = (scale, high) if target.is_exceeded(self.codec.encode(net, steps)) else (low, scale)
        # Offsets are in units of the initial size, which changes here: divided by the factor, they keep their values.
        grid = self.grid.detach() / torch.tensor([1.0, high], device=self.grid.device)
        self._hold([QuantizationStep(first.size * high, first.offset) for first in self.origin], grid)

    def _bpp_of(self, data: bytes) -> float:
        video = self.module.net.video
        return 8 * len(data) / (video.frames * video.height * video.width)

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict() if self.optimizer else None
        origin = [tuple(step) for step in self.origin]
        return super().state_dict() | {
            "origin": origin,
            "grid": self.grid.detach(),
            "optimizer": optimizer,
            "rate_weight": self.rate_weight,
            "estimated_at": self._estimated_at,
            "measurements": [tuple(each) for each in self.measurements],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.rate_weight = state_dict["rate_weight"]
        self._estimated_at = state_dict.get("estimated_at", 0.0)  # absent in earlier checkpoints
        # Checkpoints written before targets kept a history have none.
        self.measurements = [Measurement(*each) for each in state_dict.get("measurements", [])]
        if state_dict["origin"]:
            self._hold([QuantizationStep(*step) for step in state_dict["origin"]], state_dict["grid"])
            assert self.optimizer is not None
            self.optimizer.load_state_dict(state_dict["optimizer"])

    def _begin_grids(self) -> None:
        origin = []
        for parameter, entry in zip(self.weights, self.entries, strict=True):
            values = parameter if entry.layout is None else to_coefficients(parameter, entry.layout)
            span = float(values.max() - values.min())
            # Coefficients are centred at zero: with offset 0, most of them are rounded to 0, the cheapest symbol.
            offset = float(parameter.mean()) if entry.layout is None else 0.0
            origin.append(QuantizationStep(max(span, 1e-6) / ((entry.levels or 2) - 1), offset))
        self._hold(origin, torch.zeros(len(origin), 2, device=self.weights[0].device))

    def _hold(self, origin: list[QuantizationStep], grid: Tensor) -> None:
        self.origin, self.grid = origin, nn.Parameter(grid)
        self.optimizer = Adam([self.grid], lr=self.step_learning_rate)
        self._slope = torch.zeros(len(origin), device=grid.device)

    @torch.enable_grad()
    def _update(self, trainer: L.Trainer, price: float, schedule: float) -> None:
        """Compute the gradients of the rate, and take one Adam step of the grids by rate and distortion."""
        assert self.optimizer is not None
        tables = not self.rate_gradients or trainer.global_step % (TABLE_RATE_INTERVALS * self.interval) == 0
        rows = [row for row, entry in enumerate(self.entries) if tables or entry.layout is None]
        found = self._slopes_of(rows, self._calls[tables])
        rates = mean_over_ranks(trainer, [rate for rate, _ in found])
        grids = mean_over_ranks(trainer, [grid for _, grid in found])
        if tables:
            self.rate_gradients, self._grid_rate = list(rates), list(grids)
        for row, rate, grid in zip(rows, rates, grids, strict=True):
            self.rate_gradients[row], self._grid_rate[row] = rate, grid
        self.grid.grad = price * torch.stack(self._grid_rate)
        self.grid.grad[:, 0] += self._slope / RATE_INTERVALS
        self._slope.zero_()
        for group in self.optimizer.param_groups:
            group["lr"] = schedule * self.step_learning_rate
        self.optimizer.step()

    def _slopes_of(
        self, rows: list[int], call: RepeatedCall[list[tuple[Tensor, Tensor]]]
    ) -> list[tuple[Tensor, Tensor]]:
        """`_slopes` of these rows; on a GPU replayed as a CUDA graph, whose results the next call overwrites."""
        key = (self.grid.data_ptr(), *[weight.data_ptr() for weight in self.weights])
        if cuda_graphs.usable(self.grid.device) and self.module.cuda_graphs and call.is_due(key):
            replayed = call.replay(key, lambda: [self._slopes(row) for row in rows])
            if replayed is not None:
                return replayed
        return [self._slopes(row) for row in rows]

    def _slopes(self, row: int) -> tuple[Tensor, Tensor]:
        """Gradients of a tensor's bits by its weights, and by its row of `grid`."""
        if (layout := self.entries[row].layout) is not None:
            return self._table_slopes(row, layout)
        value, first = self.weights[row].detach().requires_grad_(), self.origin[row]
        grid = self.grid[row].detach().requires_grad_()
        size, offset = first.size * grid[0].exp(), first.offset + grid[1] * first.size
        bits = self.bits_of((value - offset) / size + torch.rand_like(value) - 0.5).sum()
        of_value, of_grid = torch.autograd.grad(bits, [value, grid])
        return of_value, of_grid

    @torch.no_grad()
    def _table_slopes(self, row: int, layout: GridLayout) -> tuple[Tensor, Tensor]:
        """As `_slopes`, for a table coded as coefficients, each under the Laplace density of its context."""
        weight = self.weights[row]
        size = self.origin[row].size * self.grid[row, 0].exp()
        values = to_coefficients(weight, layout) / size
        chosen = contexts(coded_magnitudes(values.round().abs(), layout), all_positions(layout, values.device))
        groups = chosen.permute(1, 2, 0).reshape(values.shape).int()
        slopes = laplace_slopes(values, groups, CONTEXTS)
        of_grid = torch.stack([-(slopes * values).sum(), slopes.new_zeros(())])
        return from_coefficients(slopes, layout).view_as(weight) / size, of_grid
