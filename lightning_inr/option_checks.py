"""Refuses an option that does not exist or is not used, and lists the existing ones; imports no torch."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from lightning_inr.errors import OptionError
from lightning_inr.options import Option, choices, config_options, declared, groups, is_base, is_group
from lightning_inr.paths import config_dir

DIFF_GROUPS = ("experiment", "t_nerv_ablation")  # groups that only change options of other files
CLUSTER_TASKS = ("collect", "evaluate_retrieval", "evaluate_chat", "fit")  # those that fit, and read `cluster`
UNKNOWN = r"Could not override '([\w.@/]+)'\.?(?:\nTo append| No match)|config\. '([\w.]+)' does not"  # to Hydra
FREE_MAPPINGS = ("callbacks", "trainer", "clip", "peers", "video_llm_config")  # mappings that are passed on unchanged


def compose(overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command line, with Hydra's own part."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(config_dir(), version_base="1.3"):
        return hydra.compose("config", list(overrides), return_hydra_config=True)


def check_options(cfg: DictConfig) -> None:
    """OptionError for an option of the command line, the experiment or the ablation that is not used."""
    job = HydraConfig.get()
    chosen = {group: choice for group, choice in job.runtime.choices.items() if choice is not None}
    diffs = {
        group: [name for name in declared(group, chosen[group]) if has_option(cfg, name)]
        for group in DIFF_GROUPS
        if group in chosen
    }
    used = _UsedNames(cfg, chosen)
    if chosen.get("cluster", "none") != "none" and cfg.task not in CLUSTER_TASKS:
        remedy = "it fits the videos of a collection, or the segments of segment_frames; leave it out"
        raise OptionError(f"cluster={chosen['cluster']} task={cfg.task}: {remedy}")
    for override in job.overrides.task:
        name, _, value = override.partition("=")
        if name.startswith("~") or is_group(name.lstrip("+")):
            continue
        plain = name.lstrip("+")
        _check_is_not_passed_on(plain, value, chosen)
        by_diff = any(plain in names for names in diffs.values())
        if not used.read(plain, added=name != plain, any_task=by_diff):
            given = override.removeprefix("++")  # may be added by run.py
            remedy = f"put ~{plain} in its place" if by_diff else f"leave {given.partition('=')[0]} out"
            raise OptionError(f"{given}: {_missing(plain, chosen)}; {remedy}")
    for group, names in diffs.items():
        unread = [name for name in names if not used.read(name, any_task=True)]
        if unread:
            remedy = "leave it out" if group == "t_nerv_ablation" else f"add {' '.join(f'~{name}' for name in unread)}"
            raise OptionError(f"{group}={chosen[group]} sets {unread[0]}: {_missing(unread[0], chosen)}; {remedy}")


def explain(error: HydraException, arguments: Sequence[str]) -> HydraException | OptionError:
    """Hydra's error about an unknown name, with the existing names; any other error unchanged."""
    text = str(error)
    if found := re.search(r"Could not find '([\w/]+)/([^/']+)'", text):
        return OptionError(f"{found[1].replace('/', '.')}={found[2]}: {_suggest(found[2], choices(found[1]))}")
    if found := re.search(UNKNOWN, text):
        name = found[1] or found[2]
        given = next((each for each in arguments if each.lstrip("+~").partition("=")[0] == name), name)
        name = name.replace("/", ".")
        return OptionError(f"{given}: {_missing(name, _choices_without(name, arguments))}")
    if unread := next((each for each in arguments if not each.startswith("-") and not _parses(each)), None):
        return OptionError(
            f"{unread}: write name=value; a value with commas or brackets goes in quotes, as 'name=\"a, b\"'"
        )
    return error


def _parses(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


class _UsedNames:
    """The names of a configuration that are used: by a task, an interpolation, or an object built from a mapping."""

    def __init__(self, cfg: DictConfig, chosen: Mapping[str, str]) -> None:
        self.cfg = cfg
        files = {group: declared(group, choice, chosen) for group, choice in _top_level_groups(chosen).items()}
        self.declared = dict(config_options())
        for options in files.values():
            self.declared |= options
        self.always = {_top(name) for name in config_options()} | {*groups(), "hydra"}
        self.task = {_top(name) for name in files.get("task", ())}
        self.tasks = {_top(name) for choice in choices("task") for name in declared("task", choice)}
        # Empty for a file outside conf/ (--config-dir): building the model then raises the error.
        self.model = {name.split(".")[1] for name in files.get("model", ()) if name.startswith("model.")}
        self.interpolated = set(_interpolated(OmegaConf.to_container(cfg, resolve=False)))

    def read(self, name: str, added: bool = False, any_task: bool = False) -> bool:
        """Whether `name` is used; `added`: it was added with `+`; `any_task`: options of other tasks count too."""
        top, _, rest = name.partition(".")
        if top == "model":
            return not rest or not self.model or rest.split(".")[0] in self.model
        if top not in self.always | self.interpolated | (self.tasks if any_task else self.task):
            return False
        return not added or top == name or self._takes(name)

    def _takes(self, name: str) -> bool:
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        built = any(OmegaConf.select(self.cfg, f"{parent}._target_") is not None for parent in parents)
        filled = any(parent in self.declared and isinstance(self.declared[parent].value, dict) for parent in parents)
        return built or filled or name in self.declared or _top(name) in FREE_MAPPINGS


def _check_is_not_passed_on(name: str, value: str, chosen: Mapping[str, str]) -> None:
    """OptionError for model.rank=…: the model takes it from the top-level `rank`, by which runs are compared."""
    if "model" in chosen and _is_passed_on(name, declared("model", chosen["model"])):
        short = name.removeprefix("model.")
        raise OptionError(f"{name}={value}: an option of the top level; write {short}={value}")


def _is_passed_on(name: str, options: Mapping[str, Option]) -> bool:
    """Whether this option of the model refers to the top-level option of the same name."""
    return name.startswith("model.") and options.get(name, (None,))[0] == f"${{{name.removeprefix('model.')}}}"


def has_option(cfg: DictConfig, name: str) -> bool:
    """Whether the configuration has the option: a file declares it, and no `~name` removed it."""
    above, _, key = name.rpartition(".")
    node = OmegaConf.select(cfg, above) if above else cfg
    return isinstance(node, DictConfig) and key in list(node)  # not `in node`, which is false for a required option


def _interpolated(node: object) -> list[str]:
    """The top-level names that values below `node` refer to."""
    if isinstance(node, str):
        return re.findall(r"\$\{(?:[\w.]+:)?(\w+)", node)
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [name for each in inner for name in _interpolated(each)]


def _missing(name: str, chosen: Mapping[str, str]) -> str:
    """The message for an unused name: its full name, or the chosen file that lacks it and the options of that file."""
    own = {group: own_options(group, chosen) for group in ("model", *groups())}
    matching = [option for group, options in own.items() if (option := _resolve(name, group, options))]
    if matching:
        return "not used with these choices" if name in matching else f"no such option; write {matching[0]}"
    for group, options in own.items():
        with_option = [choice for choice in choices(group) if _resolve(name, group, declared(group, choice))]
        if group not in DIFF_GROUPS and (with_option or _top(name) == group):
            listed = f"its options are {', '.join(options)}" if options else "it has no options"
            bases = [each for each in with_option if is_base(group, each)] or with_option
            elsewhere = f"; {name} is an option of {group}={', '.join(bases)}" if bases else ""
            return f"{group}={chosen.get(group)} has no option {name}: {listed}{elsewhere}"
    everything = [*config_options(), *(each for options in own.values() for each in options)]
    return f"no such option; {_suggest(name, everything)}"


def _resolve(name: str, group: str, options: Collection[str]) -> str | None:
    """The option or mapping that `name` refers to: with that name, or with the group as prefix; None if neither."""
    wanted = (name, f"{group}.{name}")
    return next((each for each in wanted if any(f"{option}.".startswith(f"{each}.") for option in options)), None)


def own_options(group: str, chosen: Mapping[str, str]) -> dict[str, Option]:
    """The options of a chosen file that are neither those of the run nor those of another group."""
    if group not in chosen or group in DIFF_GROUPS:
        return {}
    others = {*groups(), *(_top(name) for name in config_options())} - {group}
    options = declared(group, chosen[group], chosen)
    hidden = (group, "model.name", *(name for name in options if _is_passed_on(name, options)))
    return {name: each for name, each in options.items() if _top(name) not in others and name not in hidden}


def _choices_without(name: str, arguments: Sequence[str]) -> dict[str, str]:
    """The choices of a command line; in a sweep over choices, one without the option `name`."""
    given = {}
    for argument in arguments:
        group, _, values = argument.partition("=")
        if is_group(group) and "/" not in group and set(values.split(",")) <= set(choices(group)):
            given[group] = values.split(",")
    composed = compose([f"{group}={names[0]}" for group, names in given.items()])
    chosen = {group: choice for group, choice in composed.hydra.runtime.choices.items() if choice is not None}
    for group, names in given.items():
        chosen[group] = next((each for each in names if name not in declared(group, each)), names[0])
    return chosen


def _suggest(name: str, names: Iterable[str]) -> str:
    """The names closest to `name`; all of them, if none is close."""
    names = list(names)
    ends = {each.rpartition(".")[2]: each for each in reversed(names)}
    close = difflib.get_close_matches(name, names, 3) or [ends[e] for e in difflib.get_close_matches(name, ends, 3)]
    if close:
        return f"did you mean {' or '.join(close)}? --help lists all options"
    return f"choose one of {', '.join(names)}"


def _top_level_groups(chosen: Mapping[str, str]) -> dict[str, str]:
    """The choices without nested groups and Hydra's own."""
    return {group: choice for group, choice in chosen.items() if "/" not in group and "@" not in group}


def _top(name: str) -> str:
    return name.partition(".")[0]
