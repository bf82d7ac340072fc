"""SOAP: Adam in the eigenbasis of each weight's gradients (Vyas et al., ICLR 2025, Algorithm 3).

Tables over time get a second Adam step by the mean gradient of the slices of each shot: a frame updates only two slices
of a table, so without it each slice would have to learn the static content of a shot separately.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from lightning_inr import cuda_graphs
from lightning_inr.cuda_graphs import RepeatedCall

LONGEST_SIDE = 160  # of a matrix that gets an eigenbasis; for longer sides the cost exceeds the gain
STEPS_BETWEEN_BASES = 10  # steps between two updates of the eigenbases
EPS = 1e-12  # the gradient of one number of a table, a pixel's share in a mean, is below Adam's own 1e-8 at 1280x720
PRODUCT_DECAY = 0.95  # of the moving averages of G Gᵀ and Gᵀ G, G being a weight's gradient


class Soap(Adam):
    """SOAP for the weights of groups with `layers=True`, fused Adam for all other parameters.

    A weight is treated as a matrix (first axis, all other axes). `betas` are Adam's decay rates, for both kinds. A
    group's `slices` has, for each parameter, the number of slices (rows of the first axis) of each shot; None for a
    parameter that is not a table over time. With `stacked=True` all this holds for the axes after the first, which is
    an axis of videos: each is optimised by itself. On a GPU steps are replayed as a CUDA graph, if `graphs` is true.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99), graphs: bool = True
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=EPS, fused=True)
        self._graphs = graphs
        self._call: RepeatedCall[list[dict[str, Any]]] = RepeatedCall("a step of SOAP")
        self._turn: RepeatedCall[bool] = RepeatedCall("a change of the bases of SOAP")
        self._rates: list[Tensor] = []  # the learning rate of each group, where a graph reads it

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; the value of `closure`, or None without one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = self._replayed() if self._graphs_are_usable else None
        self._turn_bases(self._advance() if moved is None else moved)
        return loss

    @property
    def _graphs_are_usable(self) -> bool:
        return self._graphs and cuda_graphs.usable(self.param_groups[0]["params"][0].device)

    def _turn_bases(self, states: list[dict[str, Any]]) -> None:
        """Count a step of each state, and take one step of power iteration where the eigenbases are due."""
        for state in states:
            state["count"] += 1
        due = [state for state in states if state["count"] and state["count"] % STEPS_BETWEEN_BASES == 0]
        if not due:
            return
        key = tuple(state[f"basis_{side}"].data_ptr() for state in due for side in _sides(state))
        if self._graphs_are_usable and self._turn.is_due(key) and self._turn.replay(key, lambda: _turn(due)):
            return
        _turn(due)

    def _replayed(self) -> list[dict[str, Any]] | None:
        """`_advance` as a CUDA graph; None if this step is not one."""
        parameters = [each for group in self.param_groups for each in group["params"]]
        gradients = [each.grad.data_ptr() if each.grad is not None else None for each in parameters]
        key = (*[each.data_ptr() for each in parameters], *gradients)
        if not self._call.is_due(key):
            return None
        if not self._rates:
            self._rates = [torch.zeros((), device=parameters[0].device) for _ in self.param_groups]
        for rate, group in zip(self._rates, self.param_groups, strict=True):
            rate.fill_(group["lr"])
        return self._call.replay(key, self._advance_at_rates)

    def _advance_at_rates(self) -> list[dict[str, Any]]:
        """`_advance` with learning rates on the device: a graph would repeat the numbers of one step."""
        numbers = [group["lr"] for group in self.param_groups]
        try:
            for group, rate in zip(self.param_groups, self._rates, strict=True):
                group["lr"], group["capturable"] = rate, True
            return self._advance()
        finally:
            for group, number in zip(self.param_groups, numbers, strict=True):
                group["lr"], group["capturable"] = number, False

    def _advance(self) -> list[dict[str, Any]]:
        """Change all parameters; returns the states of those with an eigenbasis."""
        gradients: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for weight in group["params"] if group.get("layers") else ():
                if weight.ndim > 1 + _axis(group) and weight.grad is not None:
                    self._move(weight, weight.grad.flatten(1 + _axis(group)), group)
                    gradients.append((weight, weight.grad))
                    weight.grad = None  # so that Adam skips this weight
        super().step()
        for weight, gradient in gradients:
            weight.grad = gradient
        for group in self.param_groups:
            for table, slices in zip(group["params"], group.get("slices", ()), strict=False):
                if slices is not None and max(slices) > 1 and table.grad is not None:
                    self._move_together(table, table.grad, list(slices), group)
        return [self.state[weight] for weight, _ in gradients]

    def _move_together(self, table: Tensor, gradient: Tensor, slices: list[int], group: dict[str, Any]) -> None:
        """Take an Adam step by the mean gradient of each shot's slices; shots of one slice are left out."""
        state, (short, long), axis = self.state[table], group["betas"], _axis(group)
        means = torch.stack([part.mean(axis) for part in gradient.split(slices, axis)], axis)
        if "mean_avg" not in state:
            state["mean_avg"], state["mean_avg_sq"] = torch.zeros_like(means), torch.zeros_like(means)
        state["mean_avg"].lerp_(means, 1 - short)
        state["mean_avg_sq"].lerp_(means.square(), 1 - long)
        scale = (state["mean_avg_sq"] / _correction(long, state["step"])).sqrt_().add_(group["eps"])
        update = group["lr"] / _correction(short, state["step"]) * state["mean_avg"] / scale
        for part, move in zip(table.split(slices, axis), update.split(1, axis), strict=True):
            if part.shape[axis] > 1:
                part.sub_(move)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Take an Adam step in the eigenbasis of `weight` by `gradient` (…, rows, columns); the first sets it."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)  # on the device: avoids a synchronisation
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            state["count"] = -1  # 0 after this step
            for side, product in _products(gradient).items():
                state[side], state[f"basis_{side}"] = product, torch.linalg.eigh(product).eigenvectors
            return
        (short, long), bases = group["betas"], (state.get("basis_left"), state.get("basis_right"))
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - short)
        state["exp_avg_sq"].lerp_(_rotated(gradient, *bases).square(), 1 - long)
        scale = (state["exp_avg_sq"] / _correction(long, state["step"])).sqrt_().add_(group["eps"])
        update = _rotated(state["exp_avg"], *bases) / _correction(short, state["step"]) / scale
        weight.sub_(group["lr"] * _rotated_back(update, *bases).view_as(weight))
        for side, product in _products(gradient).items():
            state[side].lerp_(product, 1 - PRODUCT_DECAY)


def _correction(decay: float, step: Tensor) -> Tensor:
    """Adam's correction of an average that started at zero, after `step` steps."""
    return 1 - decay**step if step.is_cuda else _correction_on_cpu(decay, float(step))


@lru_cache(maxsize=8)  # most parameters have taken as many steps as the others
def _correction_on_cpu(decay: float, step: float) -> Tensor:
    return 1 - decay ** torch.tensor(step)


def _turn(states: list[dict[str, Any]]) -> bool:
    """One step of power iteration of the eigenbases; True, so that a replay has a result."""
    for state in states:
        for side in _sides(state):
            state[f"basis_{side}"].copy_(torch.linalg.qr(state[side] @ state[f"basis_{side}"]).Q)
    return True


def _sides(state: dict[str, Any]) -> list[str]:
    """The sides of a weight that have an eigenbasis."""
    return [side for side in ("left", "right") if side in state]


def _axis(group: dict[str, Any]) -> int:
    """The first axis of a video's own parameter."""
    return int(group.get("stacked", False))


def _products(gradient: Tensor) -> dict[str, Tensor]:
    """G Gᵀ (left) and Gᵀ G (right) of a gradient G, for sides of at most LONGEST_SIDE."""
    rows, columns = gradient.shape[-2:]
    left = {"left": gradient @ gradient.mT} if rows <= LONGEST_SIDE else {}
    return left | ({"right": gradient.mT @ gradient} if columns <= LONGEST_SIDE else {})


def _rotated(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Transform a matrix into the bases; a side without a basis is unchanged."""
    matrix = matrix if left is None else left.mT @ matrix
    return matrix if right is None else matrix @ right


def _rotated_back(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    matrix = matrix if left is None else left @ matrix
    return matrix if right is None else matrix @ right.mT
