"""SOAP: Adam in the eigenbasis of each weight's gradients (Vyas et al., ICLR 2025, Algorithm 3).

Tables over time take a second step of Adam, by what the slices of a shot share: a frame reaches two slices of a table,
and what stays the same all through a shot would be learned by each slice anew.
"""

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

    A weight counts as a matrix (first axis, all others). `betas` are Adam's, in either part. A group's `slices` holds
    for each parameter the number of slices (rows of the first axis) of each shot; None if it is no table over time.
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
        for group in self.param_groups:
            for table, slices in zip(group["params"], group.get("slices", ()), strict=False):
                if slices is not None and max(slices) > 1 and table.grad is not None:
                    self._move_together(table, table.grad, list(slices), group)
        return loss

    def _move_together(self, table: Tensor, gradient: Tensor, slices: list[int], group: dict[str, Any]) -> None:
        """Adam's step of the mean of each shot's slices, taken by all of them; a shot of one slice has had its own."""
        state, (short, long) = self.state[table], group["betas"]
        means = torch.stack([part.mean(0) for part in gradient.split(slices)])
        if "mean_avg" not in state:
            state["mean_avg"], state["mean_avg_sq"] = torch.zeros_like(means), torch.zeros_like(means)
        state["mean_avg"].lerp_(means, 1 - short)
        state["mean_avg_sq"].lerp_(means.square(), 1 - long)
        scale = (state["mean_avg_sq"] / (1 - long ** state["step"])).sqrt_().add_(group["eps"])
        update = group["lr"] / (1 - short ** state["step"]) * state["mean_avg"] / scale
        for part, move in zip(table.split(slices), update, strict=True):
            if len(part) > 1:
                part.sub_(move)

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
