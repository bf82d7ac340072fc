"""The text of `--help`: a description, five commands, and every option with its comment; imports no torch."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_inr.option_checks import compose, has_option, own_options
from lightning_inr.options import SECTION, Option, choices, config_options, declared, groups, is_group, title

WIDTH = 120
COLUMN = 44  # at which comments start
FIRST = ("task", "dataset", "model", "effort")
ABOUT = """\
Fit a neural network to a video and write it, quantised and entropy-coded, as one .linr file; decode such files, measure
them, search them by text and ask them questions. One command is one task, and all its options are name=value."""
COMMANDS = """\
  python -m lightning_inr.run                                      fit the bundled clip; decode and measure its file
  python -m lightning_inr.run dataset=file dataset.path=clip.mp4   the same for your own video
  python -m lightning_inr.run task=decode bitstream=video.linr out=out.mp4
  python -m lightning_inr.run task=info bitstream=video.linr       what the file holds
  python -m lightning_inr.run -m experiment=bunny_rd rank=4,8,16   a sweep: each value in turn, and a report

--help model=hnerv shows the options of that model, --help task=decode those of that task, and so for any file named
below. --hydra-help shows what Hydra's own flags do (-m, --cfg job, …)."""


def help_text(arguments: Sequence[str]) -> str:
    """The help for a command line: for the files that it names, or for everything if it names none."""
    overrides = [each for each in arguments if not each.startswith("-")]
    cfg = compose(overrides)
    chosen = {group: choice for group, choice in cfg.hydra.runtime.choices.items() if choice is not None}
    named = [name for name in (each.partition("=")[0] for each in overrides) if is_group(name)]
    order = [*FIRST, *(group for group in groups() if group not in FIRST)]
    sections = [_group_section(group, chosen, cfg) for group in named or order]
    if named:
        return "\n\n".join(sections)
    return "\n\n".join([ABOUT, COMMANDS, *_run_sections(cfg), *sections])


def _run_sections(cfg: DictConfig) -> Iterator[str]:
    options = config_options()
    nodes = {name.partition(".")[0] for name in options if "." in name}
    run = {name: option for name, option in options.items() if name.partition(".")[0] not in nodes}
    yield "\n".join(["Options of the run:", *_lines(run, cfg)])
    for node in sorted(nodes):
        below = {name: option for name, option in options.items() if name.startswith(f"{node}.")}
        comment = f": {options[node].comment}" if node in options else ""
        yield "\n".join([*_wrapped(f"{node}{comment}", ""), *_lines(below, cfg)])


def _group_section(group: str, chosen: Mapping[str, str], cfg: DictConfig) -> str:
    choice = chosen.get(group)
    others = [each for each in choices(group) if each != choice]
    head = _wrapped(f"{group}={choice}: {title(group, choice)}" if choice else f"{group}=…", "")
    lines = [] if choice is None else list(_lines(own_options(group, chosen), cfg))
    if choice is not None and group in ("experiment", "t_nerv_ablation"):
        lines = [f"  sets {name}={to_text(option.value)}" for name, option in declared(group, choice).items()]
    alternatives = _wrapped(f"{'or' if choice else 'one of'} {', '.join(others)}", "  ") if others else []
    return "\n".join([*head, *lines, *alternatives])


def _lines(options: Mapping[str, Option], cfg: DictConfig) -> Iterator[str]:
    """A line per option, or several if name, value and comment are long."""
    raw: Any = OmegaConf.to_container(cfg)
    for name, option in options.items():
        if not has_option(cfg, name):
            continue
        value = raw
        for key in name.split("."):
            value = value[key]
        if option.value is SECTION and isinstance(value, dict):
            yield from _wrapped(f"{name}: {option.comment}", "  ")
            continue
        comment = option.comment if value != "???" else f"must be given; {option.comment}".removesuffix("; ")
        yield from _beside(f"  {name}={to_text(value)}", comment)


def _beside(given: str, comment: str) -> Iterator[str]:
    parts = textwrap.wrap(comment, WIDTH - COLUMN) or [""]
    if len(given) > COLUMN - 2 and comment:
        yield given
    else:
        yield (given.ljust(COLUMN) + parts.pop(0)).rstrip()
    yield from (" " * COLUMN + part for part in parts if part)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def to_text(value: Any) -> str:
    """A value in the syntax of the command line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {to_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(to_text(each) for each in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if value == "???":
        return "…"
    return str(value) if value != "" else "''"
