"""The fit of a pack: the forward of one model, mapped by `vmap` over the stacked parameters of N videos."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from lightning_inr.training.modules.fit_module import STEPS_BETWEEN_RECORDINGS, FitModule
from lightning_inr.training.modules.graphed import GraphedModule, StepResult
from lightning_inr.types import FrameBatch

LARGEST_NORM = 1e15  # of a video's gradients


class PackModule(GraphedModule):
    """Minimises the sum of the losses of several fits, whose models differ in the values of their parameters alone.

    `fits` keep their models, whose parameters become views of `stacked`: each can be rendered and encoded as ever.
    Gradients, their clipping and the optimiser's steps are those of separate fits. A video whose loss is not finite is
    `broken`: its parameters stay as they are, and do not affect the others.
    """

    def __init__(self, fits: Sequence[FitModule]) -> None:
        super().__init__(fits[0].cuda_graphs)
        self.fits = tuple(fits)  # a tuple: the parameters of modules in attributes would be parameters of the pack, too
        self.names = [name for name, _ in fits[0].net.named_parameters()]
        own = [[fit.net.get_parameter(name).detach() for fit in fits] for name in self.names]
        self.stacked = nn.ParameterList([torch.stack(each) for each in own])
        self.broken: dict[int, str] = {}  # number of a video -> why its fit has ended
        self._objective: Callable[..., Tensor] = functools.partial(functional_call, _Objective(fits[0]))
        self.share_memory_with_fits()

    def share_memory_with_fits(self) -> None:
        """Make the parameters of all fits views of `stacked`; once more after a change of the device."""
        for name, stacked in zip(self.names, self.stacked, strict=True):
            for fit, values in zip(self.fits, stacked.detach(), strict=True):
                fit.net.get_parameter(name).data = values

    def on_fit_start(self) -> None:
        """Called by the trainer when the parameters are on their device."""
        self.share_memory_with_fits()

    def compute(self, batch: FrameBatch) -> StepResult:
        """The sum of all losses, and `losses`, that of each video (N,), of a batch with frames (N, B, 3, h, w)."""
        weights = {f"module.net.{name}": stacked for name, stacked in zip(self.names, self.stacked, strict=True)}
        data = [batch.index, batch.frames] + ([] if batch.teacher is None else [batch.teacher])
        of_each = torch.vmap(self._objective, in_dims=(0, (None, *[0] * (len(data) - 1))))
        losses = of_each(weights, tuple(data))
        return StepResult(losses.sum(), {"losses": losses})

    def training_step(self, batch: FrameBatch, batch_idx: int) -> dict[str, Tensor]:
        """The sum of all losses, and the loss of each video (N,)."""
        loss, outputs = self.run_step(batch)
        losses = outputs["losses"].detach()
        if self.global_step % STEPS_BETWEEN_RECORDINGS == 0:
            self._note_broken(losses.isfinite().tolist())
        return {"loss": loss, "losses": losses}

    def configure_optimizers(self) -> Optimizer:
        """The optimiser of the fits, with the same groups."""
        stacked = dict(zip(self.fits[0].net.parameters(), self.stacked, strict=True))
        groups = self.fits[0].parameter_groups()
        for group in groups:
            group["params"], group["stacked"] = [stacked[own] for own in group["params"]], True
        return self.fits[0].optimizer(groups)

    @torch.no_grad()
    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of each video's gradients; those that are not finite, or whose squares are not, become zero.

        Otherwise they would get into the state of the optimiser, where one call decomposes the matrices of all videos,
        and fails if one of them is not finite.
        """
        gradients = [stacked.grad for stacked in self.stacked if stacked.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1) for each in gradients])
        norm = torch.linalg.vector_norm(norms, dim=0)
        scale = torch.ones_like(norm)
        if gradient_clip_val:
            scale = (gradient_clip_val / (norm + 1e-6)).clamp_max(1.0)  # as torch.nn.utils.clip_grad_norm_
        lost = ~(norm < LARGEST_NORM)  # NaN, too
        for each in gradients:
            shape = (-1, *[1] * (each.ndim - 1))
            each.mul_(scale.view(shape)).masked_fill_(lost.view(shape), 0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["broken"] = self.broken

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.broken = checkpoint["broken"]

    @torch.no_grad()
    def _note_broken(self, is_finite: Sequence[bool]) -> None:
        """Record the videos whose loss is not finite, and end the fit if there is no other."""
        for number, fine in enumerate(is_finite):
            if fine or number in self.broken:
                continue
            self.broken[number] = (
                f"the fit broke at epoch {self.current_epoch}, step {self.global_step}: the loss is not finite; "
                f"lower module.learning_rate={self.fits[0].learning_rate:g}"
            )
        if len(self.broken) == len(self.fits):
            self.trainer.should_stop = True


class _Objective(nn.Module):
    """The loss of a fit as a function of its model's parameters."""

    def __init__(self, module: FitModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, index: Tensor, frames: Tensor, teacher: Tensor | None = None) -> Tensor:
        """Frame positions (B,), frames (B, 3, h, w) and teacher embeddings (B, S) -> the sum of the loss terms."""
        outputs: Mapping[str, Tensor] = self.module.net.training_outputs(index, frames)
        terms = self.module.terms(outputs, FrameBatch(index, frames, None, teacher))
        return functools.reduce(torch.add, terms.values())
