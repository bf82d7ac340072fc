"""Markdown pages of the options, from the files of conf/ and their comments: `python docs/generate.py FOLDER`."""

import argparse
import ast
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import typer
import yaml

from lightning_inr.command.app import app
from lightning_inr.options import SECTION, Option, choices, config_options, declared, title
from lightning_inr.paths import config_dir

ROOT = Path(__file__).resolve().parent.parent
CONF = Path(config_dir())
RUN = "config"  # the page of config.yaml itself
GROUPS = {  # what a group chooses, in the order of the pages; one that is not named here comes last
    RUN: "Options of every run",
    "task": "Tasks: what a run does",
    "model": "Models and their published sizes",
    "model/encoding": "Encodings of positions",
    "dataset": "Videos and data sets",
    "clip_options": "The part of a video, and its size",
    "effort": "How long a fit takes",
    "module": "What a fit minimises",
    "callbacks": "Rate, quantisation and pruning during a fit",
    "codec": "Bits and entropy coder",
    "trainer": "The trainer",
    "logger": "Loggers",
    "cluster": "Where the videos of a collection are fitted",
    "teacher": "Teachers of embeddings",
    "video_llm": "Video language models",
    "load_options": "How a video language model is loaded",
    "questions": "Questions about videos",
    "index": "Indexes of collections",
    "hydra/launcher": "Launchers of sweeps",
    "t_nerv_ablation": "T-NeRV without one of its parts",
    "experiment": "Experiments",
}
PACKAGES = {
    "clip_options": "dataset",
    "load_options": "video_llm",
}  # where the options of a group stand that others take in


class Choice(NamedTuple):
    """A yaml file of a group."""

    name: str
    summary: str  # the comment at its beginning
    commands: list[str]  # in that comment
    built_on: list[str]  # files that it takes in, or chooses in place of others
    sweeps: list[str]  # option=values, that it sweeps over by itself
    options: dict[str, Option]  # that differ from those of the files it takes in


def groups() -> list[str]:
    """All groups, config.yaml first."""
    found = {path.parent.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml")} - {"."}
    return [name for name in dict.fromkeys([*GROUPS, *sorted(found)]) if name == RUN or name in found]


def heading(group: str) -> str:
    """The title of a group's page."""
    return GROUPS.get(group, f"Group {group}")


def page_of(group: str) -> str:
    """The file of a group's page; `index.md` is the list of all pages."""
    return "indexes.md" if group == "index" else f"{group.replace('/', '_')}.md"


def pages() -> dict[str, str]:
    """Path below options/ -> Markdown."""
    read = {group: [_read(group, name) for name in choices(group)] for group in groups() if group != RUN}
    run = [f"# {heading(RUN)}", "", *_table(config_options())]
    made = {page_of(group): "\n".join([f"# {heading(group)}", "", *_sections(group, read[group])]) for group in read}
    return {"index.md": _index(read), page_of(RUN): "\n".join(run)} | made


def floors() -> str:
    """A table of the floors that tests/test_floors.py checks, and what is on each."""
    tree = ast.parse((ROOT / "tests" / "test_floors.py").read_text())
    [held] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["FLOORS"]
    ]
    numbers: dict[str, int] = ast.literal_eval(held)
    rows = ["| floor | module | what it is |", "|---|---|---|"]
    for name, floor in sorted(numbers.items(), key=lambda each: -each[1]):
        path = ROOT / "lightning_inr" / name
        text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        line = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        rows.append(f"| {floor} | `{name}` | {_cell(line)} |")
    return "\n".join(rows)


def console() -> str:
    """The verbs of `lightning-inr` with their arguments and options, from the program itself."""
    command = typer.main.get_command(app)
    lines: list[str] = []
    for name, verb in command.commands.items():  # type: ignore[attr-defined]  # a group of verbs
        lines += [f"### `{name}`", "", _escaped(verb.help or ""), "", "| option | default | meaning |", "|---|---|---|"]
        for option in verb.params:
            names = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
            shown = f"`{option.metavar}`" if option.param_type_name == "argument" else names
            default = "" if option.default in (None, False) or option.required else f"`{_plain(option.default)}`"
            lines.append(f"| {shown} | {default} | {_cell(option.help or '')} |")
        lines.append("")
    return "\n".join(lines)


def _plain(default: Any) -> str:
    return str(default.value if isinstance(default, Enum) else default)


def _read(group: str, name: str) -> Choice:
    text = (CONF / group / f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text) or {}
    taken: dict[str, Option] = {}
    built_on = []
    for entry in values.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            parent, _, package = entry.partition("@")
            taken |= declared(group, parent, package=package or None)
            built_on.append(f"{group}={parent}")
        elif isinstance(entry, dict):
            for key, value in entry.items():
                other, _, place = key.removeprefix("override ").lstrip("/").partition("@")
                if place == "_here_":
                    taken |= declared(other, value, package=PACKAGES.get(group, group))
                built_on.append(f"{other}={value}")
    own = {
        option: described
        for option, described in declared(group, name, package=PACKAGES.get(group)).items()
        if taken.get(option) != described and not option.startswith("hydra.") and option != "task"
    }
    swept = (values.get("hydra") or {}).get("sweeper", {}).get("params", {})
    sweeps = [f"{option}={each}" for option, each in swept.items()]
    commands = re.findall(r"^#\s{2,}((?:python|pip)\b.*)$", text, re.MULTILINE)
    return Choice(name, _escaped(title(group, name)), commands, built_on, sweeps, own)


def _index(read: dict[str, list[Choice]]) -> str:
    rows = [
        f"| [`{group}`]({page_of(group)}) | {heading(group)} | "
        + ", ".join(f"[`{each.name}`]({page_of(group)}#{each.name.lower()})" for each in found)
        + " |"
        for group, found in {RUN: [], **read}.items()
    ]
    return "\n".join(
        [
            "# Options",
            "",
            "Made from the files of `conf/` and their comments, as `--help` is.",
            "`GROUP=NAME` chooses a file of a group, `OPTION=VALUE` sets an option;",
            "`???` marks an option that must be given.",
            "An option that does not exist, or that nothing reads, is an error.",
            "",
            "| group | what it chooses | choices |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _sections(group: str, found: list[Choice]) -> Iterator[str]:
    for each in found:
        yield from (f"## `{group.replace('/', '.')}={each.name}` {{ #{each.name.lower()} }}", "")
        if each.summary:
            yield from (each.summary, "")
        if each.commands:
            yield from ("```bash", *each.commands, "```", "")
        if each.built_on:
            yield from ("Built on " + ", ".join(f"`{choice}`" for choice in each.built_on) + ".", "")
        if each.sweeps:
            yield from ("Sweeps over " + ", ".join(f"`{sweep}`" for sweep in each.sweeps) + ".", "")
        if each.options:
            yield from (*_table(each.options), "")


def _table(options: dict[str, Option]) -> Iterator[str]:
    yield from ("| option | value | meaning |", "|---|---|---|")
    for name, (value, comment) in options.items():
        yield f"| `{name}` | {'' if value is SECTION else _code(value)} | {_cell(comment)} |"


def _code(value: Any) -> str:
    text = value if isinstance(value, str) and value else yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return f"`{text.removesuffix(chr(10)).removesuffix(chr(10) + '...').strip()}`".replace("|", r"\|")


def _cell(comment: str) -> str:
    return _escaped(comment).replace("|", r"\|")


def _escaped(text: str) -> str:
    """Plain text as Markdown that shows it as it is."""
    return re.sub(r"([*<>\[\]])", r"\\\1", text)


def main() -> None:
    """Write all pages into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (folder / name).write_text(page)


if __name__ == "__main__":
    main()
