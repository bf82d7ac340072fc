"""Training with rounded weights, as a decoder reads them: the common base, and quantisation-aware training."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_inr.codec import Codec, Entry, QuantizationStep, fake_quantize, rounding_error
from lightning_inr.errors import UserError
from lightning_inr.training.callbacks.base import FitCallback, data_of, mean_over_ranks, one_of
from lightning_inr.training.callbacks.budget import Budget

STEPS_BETWEEN_ROUNDINGS = 16


class WeightQuantization(FitCallback):
    """Uses rounded weights in forward and backward once the share `start` of the budget is spent.

    The optimiser updates the full-precision weights with that gradient (straight-through, Bengio et al. 2013).
    At `start` the embeddings of an encoder are stored as parameters, and then rounded and trained like all coded
    tensors.
    """

    rate_weight = 0.0  # weight of the bits per pixel in the loss

    def __init__(self, codec: Codec, start: float) -> None:
        if not 0 <= start <= 1:
            raise UserError(f"start={start} of rounding: choose a share of the budget, 0 to 1")
        self.codec, self.start = codec, start
        self.started = False
        self.entries: list[Entry] = []  # the codec's plan for each weight
        self.weights: list[Tensor] = []
        self.errors: list[Tensor] = []  # rounded minus full-precision value of each weight
        self._full: list[Tensor] = []  # full-precision weights, while the model holds rounded ones
        self._rounded: list[Tensor] = []  # buffers for rounded weights; reused, as allocation costs more than the sum

    @abstractmethod
    def round_weights(self, step: int) -> None:
        """Update `errors` before training step `step`."""

    def is_due(self, trainer: L.Trainer) -> bool:
        """Whether to use rounded weights from this step on."""
        return one_of(trainer, Budget).spent >= self.start

    def steps(self) -> Mapping[str, QuantizationStep]:
        """The trained quantisation grids to encode with, by tensor name; empty by default."""
        return {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        parameters = dict(self.module.net.named_parameters())
        plan = self.codec.plan(self.module.net)
        self.entries = [entry for entry in plan if entry.quantized and entry.name in parameters]
        self.weights = [parameters[entry.name] for entry in self.entries]
        if self.started:
            self.module.net.store_embeddings([])  # without frames: a resumed fit has the embeddings in its checkpoint

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.started:
            if not self.is_due(trainer):
                return
            self.begin(trainer)
            self.started = True
        self.round_weights(trainer.global_step)
        self._full = [weight.data for weight in self.weights]
        if not self._rounded:
            self._rounded = [torch.empty_like(weight) for weight in self._full]
        self._fill(self.slices_read(batch))
        for weight, value in zip(self.weights, self._rounded, strict=True):
            weight.data = value

    def slices_read(self, batch: Any) -> Mapping[str, Tensor]:
        """By tensor name, the slices that a step with this batch reads, of the tensors that it does not read whole."""
        return self.module.net.slices_read(batch.index)

    def _fill(self, slices: Mapping[str, Tensor]) -> None:
        """Write rounded weights into their buffers; of tensors in `slices` only those, the others keep old values."""
        whole = [row for row, entry in enumerate(self.entries) if entry.name not in slices]
        into = [self._rounded[row] for row in whole]
        torch._foreach_copy_(into, [self._full[row] for row in whole])
        torch._foreach_add_(into, [self.errors[row] for row in whole])
        for entry, rounded, full, error in zip(self.entries, self._rounded, self._full, self.errors, strict=True):
            if (read := slices.get(entry.name)) is None:
                continue
            if full.is_cuda:  # where `tolist` would wait for the device
                rounded.index_copy_(0, read, full.index_select(0, read).add_(error.index_select(0, read)))
            else:
                for number in set(read.tolist()):
                    torch.add(full[number], error[number], out=rounded[number])

    def begin(self, trainer: L.Trainer) -> None:
        """Store the embeddings of an encoder; called once, before the first step with rounded weights."""
        self.module.net.store_embeddings(data_of(trainer).in_order())
        tables = self.module.net.roles().get("embeddings", [])
        for table, mean in zip(tables, mean_over_ranks(trainer, tables), strict=True):
            table.copy_(mean)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for weight, full in zip(self.weights, self._full, strict=False):
            weight.data = full
        self._full = []

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.started = state_dict["begun"]


class QuantizationAware(WeightQuantization):
    """Rounds as the codec does, between the smallest and the largest value of each tensor or channel.

    Rounding errors are computed every STEPS_BETWEEN_ROUNDINGS steps: they change little in between, and become exact
    as the learning rate falls to zero.
    """

    def __init__(self, codec: Codec, start: float = 0.7) -> None:
        super().__init__(codec, start)

    def round_weights(self, step: int) -> None:
        """Update `errors` every STEPS_BETWEEN_ROUNDINGS steps."""
        if self.errors and step % STEPS_BETWEEN_ROUNDINGS:
            return
        self.errors = [_error(weight, entry) for weight, entry in zip(self.weights, self.entries, strict=True)]


def _error(weight: Tensor, entry: Entry) -> Tensor:
    """The difference that the codec's rounding adds to `weight`."""
    if entry.layout is not None:
        return rounding_error(weight, entry.layout, None, entry.levels or 1)
    return fake_quantize(weight, entry.levels or 1, entry.axis).sub_(weight)
