"""The controller of the rate weight, on an imitated fit: quality and size follow the rate weight with a delay."""

import math

import pytest

from lightning_inr.training.callbacks.file_targets import SETTLED, Dynamics, FileTarget, QualityTarget, SizeTarget

CORRECTIONS = 40  # of a fit with effort=fast
FIRST_WEIGHT = 1e-3


class ImitatedTarget(FileTarget):
    """A target for files whose content is their value."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__([])
        self.dynamics, self.goal = dynamics, 0.0  # type: ignore[misc]

    def measure(self, data: bytes) -> float:
        return float(data)

    def shortfall(self, data: bytes) -> str | None:
        return None


def final_value(dynamics: Dynamics, at_first: float, trend: float, delay: float) -> float:
    """The value at the end of a fit that would end at `at_first` without corrections."""
    target, rate_weight, value = ImitatedTarget(dynamics), FIRST_WEIGHT, at_first - trend * (1 - SETTLED)
    for number in range(1, CORRECTIONS + 1):
        spent = SETTLED + (1 - SETTLED) * number / CORRECTIONS
        lost = dynamics.per_doubling * math.log2(rate_weight / FIRST_WEIGHT)
        value += (at_first - lost - trend * (1 - spent) - value) * (1 - math.exp(-0.02 / delay))
        rate_weight = target.adapted(rate_weight, str(value).encode(), spent)
    return value


@pytest.mark.parametrize("at_first", [-3.0, -1.0, 0.0, 1.5, 3.0])  # dB from the target
@pytest.mark.parametrize("trend", [1.4, 4.5])
@pytest.mark.parametrize("delay", [0.04, 0.15])
def test_a_quality_is_reached(at_first: float, trend: float, delay: float) -> None:
    assert final_value(QualityTarget.dynamics, at_first, trend, delay) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("at_first", [-3.0, -1.0, 0.0, 1.0, 3.0])  # doublings of the size
@pytest.mark.parametrize("trend", [-0.4, -0.1])
@pytest.mark.parametrize("delay", [0.04, 0.15])
def test_a_size_is_reached(at_first: float, trend: float, delay: float) -> None:
    assert 2 ** final_value(SizeTarget.dynamics, at_first, trend, delay) == pytest.approx(1, abs=0.1)


def test_nothing_is_changed_before_files_predict_the_last_one() -> None:
    assert ImitatedTarget(SizeTarget.dynamics).adapted(1e-3, b"5", SETTLED) == 1e-3
