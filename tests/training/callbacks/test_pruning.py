from pathlib import Path

import pytest
import torch

from lightning_inr.codec import Codec, decode
from lightning_inr.errors import UserError
from lightning_inr.training.callbacks.base import one_of
from lightning_inr.training.callbacks.budget import Budget
from lightning_inr.training.callbacks.history import History
from lightning_inr.training.callbacks.pruning import Pruning
from tests.training.modules.test_fit_module import fit


def test_the_smallest_weights_end_as_zeros_and_the_fit_recovers(images: Path) -> None:
    pruning = Pruning(share=0.3, start=0.5)
    _, trainer = fit(images, pruning, budget=Budget(max_epochs=60, max_seconds=None))
    weights = torch.cat([weight.detach().flatten() for weight in pruning._weights()])
    assert float((weights == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    moments = one_of(trainer, History).moments
    after = [moment.psnr for moment in moments if moment.epoch >= 32]
    assert after[-1] > after[0]


def test_zeros_make_a_smaller_file(images: Path) -> None:
    sizes = []
    for share in (0.0, 0.6):
        torch.manual_seed(0)
        module, _ = fit(images, Pruning(share), budget=Budget(max_epochs=20, max_seconds=None))
        data = Codec(default_bits=8).encode(module.net)
        sizes.append(len(data))
        decode(data)
    assert sizes[1] < 0.85 * sizes[0]


def test_wrong_shares_are_named() -> None:
    with pytest.raises(UserError, match=r"pruning.share=1: choose a number from 0 to below 1"):
        Pruning(1)
