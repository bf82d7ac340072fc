"""The example of docs/extend/loss.md; the function goes into lightning_inr/losses.py."""

from torch import Tensor


# --8<-- [start:loss]
def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(error² + 10⁻⁶): absolute error, smooth at zero (Charbonnier et al. 1994)."""
    return ((prediction - target).square() + 1e-6).sqrt().mean()


# --8<-- [end:loss]
