"""Reads the options and their comments from the yaml files of `conf/`, without Hydra or torch."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_inr.paths import config_dir

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
GLOBAL = "# @package _global_"
SECTION = object()  # the value of a mapping that has a comment of its own


class Option(NamedTuple):
    """One option of a file: its default and its comment."""

    value: Any  # or SECTION
    comment: str


def groups() -> list[str]:
    """The configuration groups, in the order of config.yaml: task, dataset, …"""
    entries = _read("", "config").defaults
    return [key for entry in entries if isinstance(entry, dict) for key in entry if not key.startswith("override ")]


def choices(group: str) -> list[str]:
    """The names of a group's files."""
    return sorted(file.stem for file in (Path(config_dir()) / group).glob("*.yaml"))


def is_group(name: str) -> bool:
    """Whether `name=…` on the command line chooses a file."""
    return (Path(config_dir()) / name.partition("@")[0]).is_dir()


def is_base(group: str, choice: str) -> bool:
    """Whether a file has no base file in its group."""
    return not any(isinstance(each, str) and each != "_self_" for each in _read(group, choice).defaults)


def title(group: str, choice: str) -> str:
    """The first comment of a file, its title."""
    return _read(group, choice).title


def config_options() -> dict[str, Option]:
    """The options of config.yaml by name, without Hydra's own."""
    return {name: option for name, option in _read("", "config").options.items() if not name.startswith("hydra.")}


def declared(
    group: str, choice: str, chosen: Mapping[str, str] | None = None, package: str | None = None
) -> dict[str, Option]:
    """The options of a file and of its base files, by their names on the command line.

    `chosen` replaces a base file by another of the same group, as {"model/encoding": "grid"}.
    """
    file = _read(group, choice)
    if package is None:
        package = "" if file.is_global else group.replace("/", ".")
    own = {_join(package, name): option for name, option in file.options.items()}
    if "_self_" not in file.defaults:
        return _merged(own, _built_on(group, file, chosen or {}, package))
    return _merged(_built_on(group, file, chosen or {}, package), own)


class _File(NamedTuple):
    is_global: bool
    title: str
    defaults: list[Any]
    options: dict[str, Option]


@cache
def _read(group: str, choice: str) -> _File:
    path = Path(config_dir()) / group / f"{choice}.yaml"
    text = path.read_text() if path.exists() else ""  # missing for a file outside conf/ (--config-dir)
    lines = text.splitlines()
    root = yaml.compose(text, Loader=LOADER)
    values = yaml.load(text, LOADER) or {}
    nodes = root.value if isinstance(root, yaml.MappingNode) else []
    options = [
        each for key, node in nodes if key.value != "defaults" for each in _options(key, node, values[key.value], lines)
    ]
    return _File(text.startswith(GLOBAL), _title(lines), values.get("defaults", []), dict(options))


def _options(
    key: yaml.Node, node: yaml.Node, value: Any, lines: list[str], prefix: str = ""
) -> list[tuple[str, Option]]:
    """The options at and below one key of a file."""
    name = _join(prefix, key.value)
    if key.value == "_target_":
        return []
    in_place = isinstance(node, yaml.ScalarNode) or bool(getattr(node, "flow_style", False))
    if in_place or isinstance(value, list):
        end = node if in_place else key  # a list over several lines has its comment at the key
        return [(name, Option(value, _comment(end, key, lines)))]
    comment = _comment(key, key, lines)
    below = [each for under, inner in node.value for each in _options(under, inner, value[under.value], lines, name)]
    return [(name, Option(SECTION, comment)), *below] if comment else below


def _comment(end: yaml.Node, key: yaml.Node, lines: list[str]) -> str:
    """The comment after `end` on its line, and those on the lines below that are indented deeper than `key`."""
    number = end.end_mark.line
    words = lines[number][end.end_mark.column :].lstrip(": ") if number < len(lines) else ""
    if not words.startswith("#"):
        return ""
    parts = [words]
    for line in lines[number + 1 :]:
        if not re.match(rf" {{{key.start_mark.column + 1},}}#", line):
            break
        parts.append(line)
    return " ".join(part.strip().lstrip("# ") for part in parts)


def _title(lines: list[str]) -> str:
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        if line != GLOBAL and not line.startswith("#  "):  # a command
            header.append(line.lstrip("# "))
    return " ".join(header)


def _built_on(group: str, file: _File, chosen: Mapping[str, str], package: str) -> dict[str, Option]:
    found: dict[str, Option] = {}
    pairs: list[dict[str, Any]] = [entry if isinstance(entry, dict) else {entry: None} for entry in file.defaults]
    entries = [pair for each in pairs for pair in each.items()]
    replaced = {key.removeprefix("override /"): name for key, name in entries if key.startswith("override /")}
    for key, name in entries:
        if key == "_self_" or key.startswith("override "):
            continue
        key, _, place = key.partition("@")
        if name is None:  # a file of the same group
            where, choice = group, key
            below = _join(package, place) if place else package
        else:
            where = key.removeprefix("/")
            choice = {**replaced, **chosen}.get(where, name)
            below = package if place == "_here_" else _join(package, place or where.replace("/", "."))
        found = _merged(found, declared(where, choice, {**replaced, **chosen}, below))
    return found


def _merged(before: dict[str, Option], after: dict[str, Option]) -> dict[str, Option]:
    """Both, where `after` overrides `before`; an option of `after` without a comment keeps that of `before`."""
    kept = {
        name: option
        for name, option in before.items()
        if not any(name.startswith(f"{other}.") for other in after if after[other].value is not SECTION)
    }
    for name, (value, comment) in after.items():
        kept[name] = Option(value, comment or (before[name].comment if name in before else ""))
    return kept


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)
