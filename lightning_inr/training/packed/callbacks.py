"""Callbacks of a pack: each does for every video what its namesake does in a fit of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_inr.errors import UserError
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.collapse import CollapseGuard, price_of_bits
from lightning_inr.training.callbacks.entropy_constrained import EntropyConstrained
from lightning_inr.training.callbacks.history import History
from lightning_inr.training.callbacks.weight_quantization import WeightQuantization
from lightning_inr.training.packed.module import PackModule


class PackedEntropyConstrained(WeightQuantization):
    """Rounds all videos' weights together; grids, rates and estimates are those of one `EntropyConstrained` each."""

    pack: PackModule

    def __init__(self, parts: Sequence[EntropyConstrained]) -> None:
        first = parts[0]
        if first.bpp is not None or first.psnr is not None:
            raise UserError("pack: a target such as bpp or psnr changes the rate weight of one video; choose pack=1")
        super().__init__(first.codec, first.start)
        self.parts, self.rate_weight, self.interval = parts, first.rate_weight, first.interval
        self._rates: list[Tensor] = []  # gradient of the bits by each weight

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called by the trainer before the fit."""
        assert isinstance(pl_module, PackModule)
        self.pack = pl_module
        for part, fit in zip(self.parts, pl_module.fits, strict=True):
            part.setup(trainer, fit, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for part, fit in zip(self.parts, self.pack.fits, strict=True):
            part.on_train_start(trainer, fit)
        stacked = dict(zip(self.pack.names, self.pack.stacked, strict=True))
        self.entries = self.parts[0].entries
        self.weights = [stacked[entry.name] for entry in self.entries]

    def begin(self, trainer: L.Trainer) -> None:
        """Called once, before the first step with rounded weights."""
        for part in self.parts:
            part.started = True

    def slices_read(self, batch: Any) -> Mapping[str, Tensor]:
        """None: weights have an axis of videos before that of slices."""
        return {}

    def round_weights(self, step: int) -> None:
        """Update `errors` every `interval` steps."""
        if self.errors and step % self.interval:
            return
        for part in self._unbroken().values():
            part.round_weights(step)
        self.errors = self._stack([part.errors for part in self.parts])

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_after_backward(trainer, pl_module)
        if not self.started:
            return
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not self._rates or trainer.global_step % self.interval == 0:
            for number, part in self._unbroken().items():
                part.train_grids(trainer, [each[number].nan_to_num(0.0, 0.0, 0.0) for each in gradients])
            self._rates = self._stack([part.rate_gradients for part in self.parts])
        torch._foreach_add_(gradients, self._rates, alpha=self.parts[0].bit_weight)

    def _unbroken(self) -> dict[int, EntropyConstrained]:
        return {number: part for number, part in enumerate(self.parts) if number not in self.pack.broken}

    def _stack(self, of_videos: Sequence[list[Tensor]]) -> list[Tensor]:
        """One tensor for each of `weights`, with an axis of videos; zeros for a video without any."""
        rows = []
        for row, weight in enumerate(self.weights):
            own = zip(of_videos, weight.detach(), strict=True)
            rows.append(torch.stack([each[row] if each else torch.zeros_like(values) for each, values in own]))
        return rows

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


class PackedCollapseGuard(Callback):
    """A `CollapseGuard` for each video."""

    pack: PackModule

    def __init__(self, parts: Sequence[CollapseGuard]) -> None:
        self.parts = parts

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called by the trainer before the fit."""
        assert isinstance(pl_module, PackModule)
        self.pack = pl_module
        for part, fit in zip(self.parts, pl_module.fits, strict=True):
            part.setup(trainer, fit, stage)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for part, loss in zip(self.parts, outputs["losses"], strict=True):
            part.add(loss)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        price = price_of_bits(trainer)
        for part in self._unbroken():
            part.end_epoch(*price)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _, rate_weight = price_of_bits(trainer)
        for part in self._unbroken():
            part.restore(rate_weight)

    def _unbroken(self) -> list[CollapseGuard]:
        return [part for number, part in enumerate(self.parts) if number not in self.pack.broken]


def pack_callbacks(of_videos: Sequence[Sequence[Callback]]) -> list[Callback]:
    """The callbacks of a pack, from those of each video; UserError for one that a pack does not support.

    A limit in seconds holds for each video: a pack of N may take N times as long. There are no training curves.
    """
    return [_pack(parts) for parts in zip(*of_videos, strict=True) if not isinstance(parts[0], History)]


def _pack(parts: Sequence[Any]) -> Callback:
    first = parts[0]
    if isinstance(first, EntropyConstrained):
        return PackedEntropyConstrained(parts)
    if isinstance(first, CollapseGuard):
        return PackedCollapseGuard(parts)
    if isinstance(first, Budget):
        if first.max_seconds is not None:
            first.max_seconds *= len(parts)
        return first
    raise UserError(f"pack: the callback {type(first).__name__} is for one video at a time; choose pack=1")
