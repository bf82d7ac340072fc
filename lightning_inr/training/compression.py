"""Fit a video as well as its bits allow."""

import torch.nn.functional as F
from torch import Tensor

from lightning_inr.training.fit import FitModule
from lightning_inr.types import FrameBatch


class CompressionModule(FitModule):
    """Mean squared error over RGB, as in the paper."""

    def terms(self, prediction: Tensor, target: Tensor, batch: FrameBatch) -> dict[str, Tensor]:
        """One term: the mean squared error of values in [0, 1]."""
        return {"mse": F.mse_loss(prediction, target)}
