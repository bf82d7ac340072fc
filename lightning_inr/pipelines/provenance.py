"""What was asked for, beside every result: the options of a run folder, and where a figure comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_inr import __version__
from lightning_inr.errors import UserError

# Options that may differ when a fit is resumed: they do not change what is fitted.
NOT_THE_FIT = (
    "task", "run_dir", "device", "gpus", "logger", "trainer", "keep_checkpoints", "feature_cache", "progress_bar",
    "callbacks.history", "callbacks.previews", "threads", "collection", "shard", "attempts", "retrieval",
    "answers", "questions", "bitstream", "dtype", "vmaf", "limits", "teacher.device", "video_llm.device",
)  # fmt: skip


class Provenance(NamedTuple):
    """Where a figure comes from."""

    dataset: Mapping[str, Any]  # its options
    overrides: Sequence[str]  # the options that were given
    command: str

    def record(self, matrix: str) -> dict[str, Any]:
        """For result.json; `matrix` is how YCbCr became RGB (`VideoSource.matrix`)."""
        return {
            "dataset": dict(self.dataset),
            "matrix": matrix,
            "overrides": list(self.overrides),
            "command": self.command,
            "version": __version__,
        }


def load_options(path: Path) -> dict[str, Any] | None:
    """The options that a folder was begun with, None if there is no such file; UserError if it is damaged."""
    try:
        options = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged ({reason}); remove it, or name another folder") from error
    if not isinstance(options, dict):
        raise UserError(f"{path} is damaged: it holds no options; remove it, or name another folder")
    return options


def check_same_fit(folder: Path, options: Mapping[str, Any], besides: tuple[str, ...] = ()) -> None:
    """UserError if `folder` was begun with other options; those whose names begin with `besides` may differ."""
    there = load_options(folder / "config.yaml")
    if there is None:
        return
    before, now = _flat(there), _flat(yaml.safe_load(to_yaml(options)))
    names = [key for key in {**before, **now} if not key.startswith((*NOT_THE_FIT, *besides))]
    changed = [key for key in names if before.get(key) != now.get(key)]
    if changed:
        listed = ", ".join(f"{key}: {before.get(key)} there, {now.get(key)} now" for key in changed[:3])
        raise UserError(f"run_dir={folder} holds a fit with other settings ({listed}); choose another run_dir")


def to_yaml(options: Mapping[str, Any]) -> str:
    """Options as the text of a config.yaml, in their order."""
    return yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """Every option, dotted name -> value."""
    if not isinstance(node, dict):
        return {prefix: str(node)}
    return {name: value for key in node for name, value in _flat(node[key], f"{prefix}.{key}".strip(".")).items()}
