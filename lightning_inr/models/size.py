"""Models of a given number of parameters: their width is solved for, as in the papers' tables."""

import re
from typing import Any

from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.models.registry import MODELS, build_on_meta
from lightning_inr.types import EmbeddingSpace, VideoShape

TOLERANCE = 0.01
FINEST = 1 / 256  # step of a fractional option: every stage rounds its own width
WIDEST = 4096
UNITS = {"": 1, "k": 10**3, "M": 10**6}


def count_coded(model: VideoRepresentation) -> int:
    """The number of parameters in the file of `model`, including embeddings, tables and grids."""
    state = model.state_dict()
    return sum(state[name].numel() for names in model.coded_groups().values() for name in names)


def read_count(text: object) -> int:
    """3.0M, 500k or 640000 as a number; UserError for anything else."""
    match = re.fullmatch(r"(\d+\.?\d*)([kM]?)", str(text))
    if not match or not float(match[1]):
        raise UserError(f"params={text}: write a number of parameters as 3.0M, 500k or 640000")
    return round(float(match[1]) * UNITS[match[2]])


def solve_width(
    name: str, video: VideoShape, params: int, embedding_space: EmbeddingSpace | None = None, **config: Any
) -> dict[str, Any]:
    """`config` with the model's `size_knobs` set so that `params` parameters are coded, within 1 %.

    Those of the linear head into `embedding_space` are counted too. UserError with the smallest, or the nearest
    possible size if that is not possible.
    """
    if name not in MODELS:
        build_on_meta(name, video)  # its error lists the models
    for knob in MODELS[name].size_knobs:
        steps = _Steps(name, video, embedding_space, config, knob)
        below, above = steps.around(params)
        nearest = min((below, above), key=lambda place: abs(steps.count(place) - params))
        if abs(steps.count(nearest) - params) <= TOLERANCE * params:
            return steps.at(nearest)
        if steps.count(below) > params:
            raise UserError(
                f"params={params}: the smallest {name} for this video holds {steps.count(below)}; choose more"
            )
        config = steps.at(below)  # a finer option may add what is missing
    raise UserError(f"params={params}: the nearest size of {name} is {steps.count(nearest)}; choose that")


class _Steps:
    """The sizes of a model over the values of one option, the other options fixed."""

    def __init__(
        self, name: str, video: VideoShape, embedding_space: EmbeddingSpace | None, config: dict[str, Any], knob: str
    ) -> None:
        self.name, self.video, self.embedding_space = name, video, embedding_space
        self.config, self.knob = config, knob
        default = getattr(MODELS[name].Config(), knob)
        self.size = 1 if isinstance(default, int) else FINEST
        self.most = round(WIDEST / self.size)

    def at(self, place: int) -> dict[str, Any]:
        return self.config | {self.knob: place * self.size}

    def count(self, place: int) -> int:
        return count_coded(build_on_meta(self.name, self.video, self.embedding_space, **self.at(place)))

    def around(self, params: int) -> tuple[int, int]:
        """The two adjacent places between whose sizes `params` lies; twice the first if it is below all."""
        below = above = self._first()
        while self.count(above) < params and above < self.most:
            below, above = above, min(2 * above, self.most)
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.count(middle) < params else (below, middle)
        return below, above

    def _first(self) -> int:
        """The first place that is possible with the model's other options."""
        place = 1
        while True:
            try:
                self.count(place)
                return place
            except UserError:
                place += max(1, place // 8)
                if place > self.most:
                    raise
