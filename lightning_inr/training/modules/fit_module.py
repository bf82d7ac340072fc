"""The base of all fits: named loss terms, their means for the curves, and an optimiser with a group for each role."""

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from timm.optim.adan import Adan
from torch import Tensor
from torch.optim import Adam, Optimizer

from lightning_inr.errors import UserError
from lightning_inr.metrics import psnr
from lightning_inr.models.base import PLACE_ROLES, VideoRepresentation
from lightning_inr.training.modules.graphed import GraphedModule, StepResult
from lightning_inr.training.soap import Soap
from lightning_inr.types import FrameBatch

OPTIMIZERS: Mapping[str, Callable[[Any], Optimizer]] = {
    "adam": functools.partial(Adam, fused=True),
    "soap": Soap,  # Vyas et al. 2025: for small networks and fits of a few thousand steps
    "adan": Adan,  # Xie et al. 2022: the optimiser of HNeRV-Boost
}
STEPS_BETWEEN_RECORDINGS = 8  # steps between two recordings of the loss, which make the host wait for the device


class FitModule(GraphedModule):
    """Fits `net` by minimising the sum of the loss terms that a subclass defines in `terms`.

    `optimizer`: adam (without weight decay, as in Latent-INR), soap or adan. `latent_learning_rate` is the learning
    rate of the role `latents`, `grid_learning_rate` that of the role `grid` (None: `learning_rate`), `learning_rate`
    that of all other roles; the callback `Budget` scales all of them. `cuda_graphs`: replay training steps on a GPU.
    """

    def __init__(
        self,
        net: VideoRepresentation,
        learning_rate: float = 5e-4,
        latent_learning_rate: float = 5e-4,
        grid_learning_rate: float | None = None,
        optimizer: str = "adam",
        cuda_graphs: bool = True,
    ) -> None:
        super().__init__(cuda_graphs)
        if optimizer not in OPTIMIZERS:
            raise UserError(f"module.optimizer={optimizer}: choose one of {', '.join(OPTIMIZERS)}")
        self.net, self.optimizer = net, OPTIMIZERS[optimizer]
        if optimizer == "soap":
            self.optimizer = functools.partial(Soap, graphs=cuda_graphs)
        self.learning_rate = learning_rate
        self.role_rates = {
            "latents": latent_learning_rate,
            "grid": learning_rate if grid_learning_rate is None else grid_learning_rate,
        }
        self.extra_metrics: dict[str, float] = {}  # values that callbacks add to the logs and the progress bar
        self._recorded: list[dict[str, float]] = []  # terms and PSNR of the steps recorded since `pop_metrics`

    @abstractmethod
    def terms(self, outputs: Mapping[str, Tensor], batch: FrameBatch) -> dict[str, Tensor]:
        """Named parts of the loss, each a weighted scalar; `outputs` are the net's `training_outputs` for `batch`."""

    def compute(self, batch: FrameBatch) -> StepResult:
        """The loss, which is the sum of the terms; the terms, and the rendered frames as `final`."""
        outputs = self.net.training_outputs(batch.index, batch.frames, batch.window)
        terms = self.terms(outputs, batch)
        return StepResult(functools.reduce(torch.add, terms.values()), {"final": outputs["final"], **terms})

    def training_step(self, batch: FrameBatch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss, outputs = self.run_step(batch)
        if self.global_step % STEPS_BETWEEN_RECORDINGS == 0:
            with torch.no_grad():
                values = dict(outputs)
                values["psnr"] = psnr(F.mse_loss(values.pop("final"), batch.frames))
                means = self.trainer.strategy.reduce(torch.stack([*values.values(), loss]))  # over ranks
            self._check(means[-1])
            self._recorded.append(dict(zip(values, means.tolist(), strict=False)))
        return loss

    def pop_metrics(self) -> dict[str, float]:
        """Means of every term, and of the batches' PSNR in dB, since the last call; empty if no step was recorded."""
        steps, self._recorded = self._recorded, []
        return {name: fmean(step[name] for step in steps) for name in (steps[0] if steps else ())}

    def configure_optimizers(self) -> Optimizer:
        """The optimiser, with one parameter group for each role."""
        return self.optimizer(self.parameter_groups())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The parameters of each role, with their learning rate and, for tables over time, the slices of each shot."""
        layouts = {parameter: self.net.grid_layout(name) for name, parameter in self.net.named_parameters()}
        groups: list[dict[str, Any]] = []
        for role, parameters in self.net.roles().items():
            rate = self.role_rates.get(role, self.learning_rate)
            slices = [None if (layout := layouts[each]) is None else layout.groups for each in parameters]
            groups.append(
                {
                    "params": parameters,
                    "lr": rate,
                    "base_lr": rate,
                    "role": role,
                    "layers": role not in PLACE_ROLES,
                    "slices": slices,
                }
            )
        return groups

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of all gradients together.

        Lightning's own clipping raises an error for fused optimisers, though no gradients are scaled here.
        """
        if not gradient_clip_val:
            return
        gradients = [each.grad for each in self.parameters() if each.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        # On a GPU the comparison would wait for the device, which takes longer than a product of all gradients with 1.
        if norm.is_cuda or not norm <= gradient_clip_val:
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, norm, foreach=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """UserError if a parameter is not finite, so that the last good checkpoint is not replaced."""
        for parameter in self.net.parameters():
            self._check(parameter.detach().sum())

    def _check(self, value: Tensor) -> None:
        value = value.detach()
        if not torch.isfinite(value):
            raise UserError(
                f"the fit broke at epoch {self.current_epoch}, step {self.global_step}: the loss is {float(value)}; "
                f"lower module.learning_rate={self.learning_rate:g} and start in a new run_dir"
            )
