"""A model of a wanted size: its width is solved for, as the papers' tables are made."""

import re
from typing import Any

from lightning_inr.errors import UserError
from lightning_inr.models import MODELS, blueprint
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.types import VideoShape

TOLERANCE = 0.01
FINEST = 1 / 32  # of a channel, where the knob is no whole number: every stage rounds its own width
WIDEST = 4096
UNITS = {"": 1, "k": 10**3, "M": 10**6}


def count_coded(model: VideoRepresentation) -> int:
    """How many numbers the file of `model` holds: embeddings, tables and grids too."""
    state = model.state_dict()
    return sum(state[name].numel() for names in model.coded_groups().values() for name in names)


def read_count(text: object) -> int:
    """3.0M, 500k or 640000 as a number; UserError for anything else."""
    match = re.fullmatch(r"(\d+\.?\d*)([kM]?)", str(text))
    if not match or not float(match[1]):
        raise UserError(f"params={text}: write a number of parameters as 3.0M, 500k or 640000")
    return round(float(match[1]) * UNITS[match[2]])


def sized(name: str, video: VideoShape, params: int, **config: Any) -> dict[str, Any]:
    """`config` with the model's size knob such that `params` numbers are coded, within 1 %.

    UserError says the smallest and the largest size, or the nearest two, where that cannot be.
    """
    if name not in MODELS:
        blueprint(name, video)  # says which there are
    knob = MODELS[name].size_knob
    default = getattr(MODELS[name].Config(), knob)
    whole = isinstance(default, int)
    step = 1 if whole else FINEST

    def at(steps: int) -> dict[str, Any]:
        return config | {knob: steps if whole else steps * step}

    def count(steps: int) -> int:
        return count_coded(blueprint(name, video, **at(steps)))

    least, most = _narrowest(count, round(1 / step), round(WIDEST / step)), round(WIDEST / step)
    low, high = least, least
    while count(high) < params and high < most:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < params else (low, middle)
    nearest = min((low, high), key=lambda steps: abs(count(steps) - params))
    if abs(count(nearest) - params) <= TOLERANCE * params:
        return at(nearest)
    if high == least:
        raise UserError(f"params={params}: the smallest {name} for this video holds {count(least)}; choose more")
    raise UserError(f"params={params}: the nearest sizes of {name} hold {count(low)} and {count(high)}; choose one")


def _narrowest(count: Any, least: int, most: int) -> int:
    """The first knob from `least` on that the model's other options allow."""
    steps = least
    while True:
        try:
            count(steps)
            return steps
        except UserError:
            steps += max(1, steps // 8)
            if steps > most:
                raise
