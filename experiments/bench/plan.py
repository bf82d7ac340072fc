"""The fits of bench.yaml, and the command of each."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from clips import CLIPS, folder_of

from lightning_inr.options import declared

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CHOICE_FACTORS = (0.5, 1.0, 2.0, 4.0)  # of the model's own learning rate


class Entry(NamedTuple):
    """One model of bench.yaml."""

    name: str
    conf: str  # file in conf/model
    overrides: list[str]
    sizes: list[str | None]
    rate_weights: list[float | None]
    learning_rate: float | None
    clips: list[str] | None


class Plan(NamedTuple):
    """The content of bench.yaml."""

    common: list[str]
    ours: str
    default: str
    budgets: list[int]  # multiply-adds a pixel
    family: list[str]
    models: dict[str, Entry]


class Fit(NamedTuple):
    """One fit: its model, folder and options."""

    clip: str
    model: str
    size: str | None
    rate_weight: float | None
    learning_rate: float | None
    folder: Path
    options: list[str]

    @property
    def result(self) -> dict[str, Any] | None:
        """The result of the fit; None if it has not finished."""
        file = self.folder / "result.json"
        return json.loads(file.read_text()) if file.exists() else None

    @property
    def is_stale(self) -> bool:
        """Whether the result was computed with other options."""
        result = self.result
        return result is not None and result["overrides"] != self.options


def read_plan(path: Path = HERE / "bench.yaml") -> Plan:
    """The plan of a yaml file; rate weights are numbers there (1.0e-3, with the point)."""
    options = yaml.safe_load(path.read_text())
    options["models"] = {name: Entry(name=name, **entry) for name, entry in options["models"].items()}
    return Plan(**options)


def fits(plan: Plan, seconds: float, clips: Sequence[str], models: Sequence[str], out: Path) -> list[Fit]:
    """All fits of `models` on `clips`, clip by clip."""
    return [
        _fit(plan, plan.models[model], clip, size, rate_weight, None, seconds, out / f"{seconds:g}s")
        for clip in clips
        for model in models
        if clip in (plan.models[model].clips or CLIPS)
        for size in plan.models[model].sizes
        for rate_weight in plan.models[model].rate_weights
    ]


def choices(plan: Plan, seconds: float, clips: Sequence[str], models: Sequence[str], out: Path) -> list[Fit]:
    """The search of learning rates: the middle size and rate weight of each model, on the clips for choosing."""
    found = []
    for model in models:
        entry = plan.models[model]
        size = entry.sizes[len(entry.sizes) // 2]
        rate_weight = entry.rate_weights[len(entry.rate_weights) // 2]
        for clip in clips:
            if CLIPS[clip].choose and clip in (entry.clips or CLIPS):
                for factor in CHOICE_FACTORS:
                    rate = float(f"{factor * own_learning_rate(entry):.3g}")
                    root = out / "choose" / f"{seconds:g}s"
                    found.append(_fit(plan, entry, clip, size, rate_weight, rate, seconds, root))
    return found


def clip_options(clip: str) -> list[str]:
    """The options that open a clip."""
    path = in_repository(folder_of(clip))
    return ["dataset=file", f"dataset.path={path}", f"dataset.fps={CLIPS[clip].fps:g}"]


def in_repository(path: Path) -> Path:
    """`path` relative to the repository, in which all commands run; absolute if it is outside."""
    path = path.resolve()
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


def own_learning_rate(entry: Entry) -> float:
    """The learning rate in the model's configuration for fits of minutes."""
    return float(declared("model", entry.conf)["short_learning_rate"].value)


def _fit(
    plan: Plan,
    entry: Entry,
    clip: str,
    size: str | None,
    rate_weight: float | None,
    learning_rate: float | None,
    seconds: float,
    root: Path,
) -> Fit:
    searched = "" if learning_rate is None else f"-lr{learning_rate:g}"
    rate = "none" if rate_weight is None else f"{rate_weight:g}"
    folder = root / clip / f"{entry.name}-{size or 'own'}-{rate}{searched}"
    learning_rate = learning_rate or entry.learning_rate
    options = [
        f"model={entry.conf}", *entry.overrides, *plan.common,
        *clip_options(clip),
        f"max_seconds={seconds:g}", f"run_dir={in_repository(folder)}",
        *([] if size is None else [f"params={size}"]),
        *([] if rate_weight is None else [f"rate_weight={rate_weight:g}"]),
        *([] if learning_rate is None else [f"short_learning_rate={learning_rate:g}"]),
    ]  # fmt: skip
    return Fit(clip, entry.name, size, rate_weight, learning_rate, folder, options)
