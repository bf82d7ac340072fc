"""SOAP: Adam in the eigenbasis of each weight's gradients (Vyas et al., ICLR 2025, Algorithm 3)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

LONGEST_SIDE = 160  # of a weight that gets a basis; longer sides cost more than they give
STEPS_BETWEEN_BASES = 10
PRODUCT_DECAY = 0.95  # decay of the averages of G Gᵀ and Gᵀ G


class Soap(Adam):
    """SOAP for the weights of groups with `layers=True`, fused Adam for all other parameters.

    A weight counts as a matrix (first axis, all others). `betas` are Adam's, in either part.
    """

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, lr=lr, betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for weight in group["params"] if group.get("layers") else ():
                if weight.ndim > 1 and weight.grad is not None:
                    self._move(weight, weight.grad.flatten(1), group)
                    gradients.append((weight, weight.grad))
                    weight.grad = None  # which Adam then leaves alone
        super().step()
        for weight, gradient in gradients:
            weight.grad = gradient
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Adam's step in the weight's own basis, by its gradient (rows, columns); the first only sets the basis."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)  # on the device: nothing waits for it
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            state["count"] = 0
            for side, product in _products(gradient).items():
                state[side], state[f"basis_{side}"] = product, torch.linalg.eigh(product).eigenvectors
            return
        (short, long), bases = group["betas"], (state.get("basis_left"), state.get("basis_right"))
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - short)
        state["exp_avg_sq"].lerp_(_rotated(gradient, *bases).square(), 1 - long)
        scale = (state["exp_avg_sq"] / (1 - long ** state["step"])).sqrt_().add_(group["eps"])
        update = _rotated(state["exp_avg"], *bases) / (1 - short ** state["step"]) / scale
        weight.sub_(group["lr"] * _rotated_back(update, *bases).view_as(weight))
        state["count"] += 1
        for side, product in _products(gradient).items():
            state[side].lerp_(product, 1 - PRODUCT_DECAY)
            if state["count"] % STEPS_BETWEEN_BASES == 0:  # one step of power iteration
                state[f"basis_{side}"] = torch.linalg.qr(state[side] @ state[f"basis_{side}"]).Q


def _products(gradient: Tensor) -> dict[str, Tensor]:
    """G Gᵀ and Gᵀ G, where a side is not too long."""
    rows, columns = gradient.shape
    left = {"left": gradient @ gradient.T} if rows <= LONGEST_SIDE else {}
    return left | ({"right": gradient.T @ gradient} if columns <= LONGEST_SIDE else {})


def _rotated(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Into the bases; a side without one stays."""
    matrix = matrix if left is None else left.T @ matrix
    return matrix if right is None else matrix @ right


def _rotated_back(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    matrix = matrix if left is None else left @ matrix
    return matrix if right is None else matrix @ right.T
