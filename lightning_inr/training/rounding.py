"""Training that sees the weights a decoder will see: what every kind of it shares, and quantisation-aware training."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_inr.codec import Codec, Entry, Step, fake_quantize, rounding_error
from lightning_inr.data.module import FrameDataModule
from lightning_inr.errors import UserError
from lightning_inr.training.callbacks import Budget, one_of
from lightning_inr.training.fit import FitModule

STEPS_BETWEEN_ROUNDINGS = 16


class WeightQuantization(Callback):
    """From `start` of the budget on, forward and backward see rounded weights.

    The optimiser moves the full-precision weights with that gradient (straight-through, Bengio et al. 2013).
    What an encoder gives is stored first: embeddings are rounded and trained like all that is coded.
    """

    rate_weight = 0.0  # of a bit a pixel, in the loss

    def __init__(self, codec: Codec, start: float) -> None:
        if not 0 <= start <= 1:
            raise UserError(f"start={start} of rounding: choose a share of the budget, 0 to 1")
        self.codec, self.start = codec, start
        self.begun = False
        self.entries: list[Entry] = []  # how each weight will be coded
        self.weights: list[Tensor] = []
        self.errors: list[Tensor] = []  # what rounding adds to each weight
        self._full: list[Tensor] = []  # the weights themselves, while others stand in for them
        self._rounded: list[Tensor] = []  # those others; kept, for fresh memory costs more than the sum

    @abstractmethod
    def round_weights(self, step: int) -> None:
        """Bring `errors` up to date before training step `step`."""

    def steps(self) -> Mapping[str, Step]:
        """The learned grids to encode with, by tensor; none by default."""
        return {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        parameters = dict(pl_module.net.named_parameters())
        plan = self.codec.plan(pl_module.net)
        self.entries = [entry for entry in plan if entry.quantized and entry.name in parameters]
        self.weights = [parameters[entry.name] for entry in self.entries]
        if self.begun:
            pl_module.net.store_embeddings([])  # a resumed fit brings what was stored along

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if one_of(trainer, Budget).spent < self.start:
            return
        if not self.begun:
            assert isinstance(pl_module, FitModule)
            data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it from afar
            assert isinstance(data, FrameDataModule)
            pl_module.net.store_embeddings(data.in_order())
            self.begun = True
        self.round_weights(trainer.global_step)
        self._full = [weight.data for weight in self.weights]
        if not self._rounded:
            self._rounded = [torch.empty_like(weight) for weight in self._full]
        torch._foreach_copy_(self._rounded, self._full)
        torch._foreach_add_(self._rounded, self.errors)
        for weight, value in zip(self.weights, self._rounded, strict=True):
            weight.data = value

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for weight, full in zip(self.weights, self._full, strict=False):
            weight.data = full
        self._full = []

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self.begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.begun = state_dict["begun"]


class QuantizationAware(WeightQuantization):
    """Rounds as the codec will, from the least to the largest value of each tensor or channel.

    What rounding does to each weight is computed anew every few steps: it changes little in between, and
    as the learning rate falls to zero it becomes exact.
    """

    def __init__(self, codec: Codec, start: float = 0.7) -> None:
        super().__init__(codec, start)

    def round_weights(self, step: int) -> None:
        """Bring `errors` up to date, every few steps."""
        if self.errors and step % STEPS_BETWEEN_ROUNDINGS:
            return
        self.errors = [_error(weight, entry) for weight, entry in zip(self.weights, self.entries, strict=True)]


def _error(weight: Tensor, entry: Entry) -> Tensor:
    """What the codec's rounding adds to `weight`."""
    if entry.layout is not None:
        return rounding_error(weight, entry.layout, None, entry.levels or 1)
    return fake_quantize(weight, entry.levels or 1, entry.axis).sub_(weight)
