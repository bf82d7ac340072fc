"""Training steps that a GPU repeats as a CUDA graph."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_inr import cuda_graphs
from lightning_inr.cuda_graphs import RepeatedCall
from lightning_inr.errors import UserError
from lightning_inr.types import FrameBatch


class StepResult(NamedTuple):
    """What a training step computes before its gradients."""

    loss: Tensor
    outputs: Mapping[str, Tensor]  # values and frames by name


class GraphedModule(L.LightningModule, ABC):
    """A LightningModule whose `compute` and its backward pass are replayed as a CUDA graph.

    That holds for a fit on one GPU, with batches of one shape; where the shape or the memory of the parameters differs
    from that of the graph, a step runs as on the CPU. The results of a replayed step are in the memory of the graph,
    and are overwritten by the next step.
    """

    def __init__(self, cuda_graphs: bool = True) -> None:
        super().__init__()
        if not isinstance(cuda_graphs, bool):
            raise UserError(f"module.cuda_graphs={cuda_graphs}: choose true or false")
        self.cuda_graphs = cuda_graphs
        self._step: RepeatedCall[tuple[StepResult, list[Tensor | None]]] = RepeatedCall("a training step")
        self._static: FrameBatch | None = None  # the batch in the memory of the graph
        self._has_gradients = False  # of the present step, before Lightning asks for them

    @abstractmethod
    def compute(self, batch: FrameBatch) -> StepResult:
        """The loss of a batch; the Python code depends on nothing that changes between two steps."""

    def run_step(self, batch: FrameBatch) -> StepResult:
        """The result of `compute`; if it is replayed, the parameters have their gradients already."""
        replayed = self._replayed(batch) if self._uses_graphs else None
        self._has_gradients = replayed is not None
        return self.compute(batch) if replayed is None else replayed

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, unless a replayed step has done so."""
        if not self._has_gradients:
            loss.backward(*args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Remove the gradients of the step before; a replayed step has overwritten them."""
        if not self._has_gradients:
            optimizer.zero_grad()

    @property
    def _uses_graphs(self) -> bool:
        # Gradients of several batches are added up, where a replay overwrites them.
        return self.cuda_graphs and self.trainer.accumulate_grad_batches == 1 and cuda_graphs.usable(self.device)

    def _replayed(self, batch: FrameBatch) -> StepResult | None:
        parameters = [each for group in self.trainer.optimizers[0].param_groups for each in group["params"]]
        shapes = [None if each is None else each.shape for each in (batch.index, batch.frames, batch.teacher)]
        key = (*shapes, batch.window, *[each.data_ptr() for each in parameters])
        if not self._step.is_due(key):
            return None
        if self._static is None or self._static.frames.shape != batch.frames.shape:
            teacher = None if batch.teacher is None else batch.teacher.clone()
            self._static = FrameBatch(batch.index.clone(), batch.frames.clone(), batch.window, teacher)
        else:
            self._static.index.copy_(batch.index)
            self._static.frames.copy_(batch.frames)
            if self._static.teacher is not None and batch.teacher is not None:
                self._static.teacher.copy_(batch.teacher)
        found = self._step.replay(key, lambda: self._with_gradients(parameters))
        if found is None:
            return None
        result, gradients = found
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient  # steps without the graph put others in its place
        return result

    def _with_gradients(self, parameters: list[Tensor]) -> tuple[StepResult, list[Tensor | None]]:
        """The result of `compute` for the static batch, and the gradients of its loss."""
        assert self._static is not None
        for parameter in parameters:
            parameter.grad = None  # to be made by the backward pass, in the memory of the graph
        device = self.device.type
        enabled, kind = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        # Without its cache: a weight converted before the capture would be that of the first step for ever.
        with torch.autocast(device, kind, enabled=enabled, cache_enabled=False):
            result = self.compute(self._static)
        with torch.autocast(device, enabled=False):
            result.loss.backward()
        outputs = {name: value.detach() for name, value in result.outputs.items()}
        return StepResult(result.loss.detach(), outputs), [parameter.grad for parameter in parameters]
