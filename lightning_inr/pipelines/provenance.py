"""The options recorded in a run folder, and the provenance of its results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_inr import __version__
from lightning_inr.errors import UserError

# Options that may differ when a fit is resumed: they do not change what is fitted.
OPTIONS_THAT_MAY_DIFFER = (
    "task", "run_dir", "device", "gpus", "logger", "trainer", "keep_checkpoints", "feature_cache", "progress",
    "progress_bar", "callbacks.history", "callbacks.previews", "threads", "collection", "shard", "attempts", "index",
    "retrieval", "answers", "questions", "bitstream", "dtype", "vmaf", "limits", "teacher.device", "video_llm.device",
    "cluster", "pack",
)  # fmt: skip


class Provenance(NamedTuple):
    """The dataset, options and command that a result was computed with."""

    dataset: Mapping[str, Any]  # its options
    overrides: Sequence[str]  # the options that were given
    command: str

    def record(self, matrix: str) -> dict[str, Any]:
        """The entries of result.json; `matrix`: that of the conversion from YCbCr to RGB (`VideoSource.matrix`)."""
        return {
            "dataset": dict(self.dataset),
            "matrix": matrix,
            "overrides": list(self.overrides),
            "command": self.command,
            "version": __version__,
        }


def load_options(path: Path) -> dict[str, Any] | None:
    """The options recorded in the file `path`; None if it does not exist, UserError if it is damaged."""
    try:
        return parse_options(path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, str(error).partition("\n")[0]) from error


def parse_options(data: bytes, name: str | Path) -> dict[str, Any]:
    """The options in the content of a config.yaml; UserError with its `name` if it is damaged."""
    try:
        options = yaml.safe_load(data.decode())
    except (ValueError, yaml.YAMLError) as error:
        raise _damaged(name, str(error).partition("\n")[0]) from error
    if not isinstance(options, dict):
        raise _damaged(name, "it holds no options")
    return options


def _damaged(name: str | Path, reason: str) -> UserError:
    return UserError(f"{name} is damaged ({reason}); remove it, or name another folder")


def check_same_fit(folder: Path, options: Mapping[str, Any]) -> None:
    """UserError if `folder` was started with other options."""
    stored = load_options(folder / "config.yaml")
    if stored is not None:
        check_same_options(stored, options, folder)


def check_same_options(
    stored: Mapping[str, Any], options: Mapping[str, Any], place: str | Path, may_differ: tuple[str, ...] = ()
) -> None:
    """UserError if `stored` differs from `options`, but in those whose names begin with `may_differ`."""
    earlier, current = _flat(stored), _flat(yaml.safe_load(to_yaml(options)))
    names = [key for key in {**earlier, **current} if not key.startswith((*OPTIONS_THAT_MAY_DIFFER, *may_differ))]
    changed = [key for key in names if earlier.get(key) != current.get(key)]
    if changed:
        listed = ", ".join(f"{key}: {earlier.get(key)} there, {current.get(key)} now" for key in changed[:3])
        remedy = "choose another run_dir or output, or remove this folder"
        raise UserError(f"run_dir={place} holds a fit with other settings ({listed}); {remedy}")


def to_yaml(options: Mapping[str, Any]) -> str:
    """Options as the text of a config.yaml, in their order."""
    return yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """Every option, dotted name -> value."""
    if not isinstance(node, dict):
        return {prefix: str(node)}
    return {name: value for key in node for name, value in _flat(node[key], f"{prefix}.{key}".strip(".")).items()}
