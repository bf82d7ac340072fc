"""Calls a task of `lightning_inr.run` from a verb, and ends with the same one-line errors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning_inr.errors import UserError


@contextmanager
def call() -> Iterator[None]:
    """What the user can mend ends in one line and exit code 1; SIGINT with 130, SIGTERM with 143."""
    from lightning_inr.run import one_line_errors, prepare_process

    prepare_process()
    with one_line_errors():
        yield


def run_task(task: str, settings: Sequence[str] | None, **options: Any) -> None:
    """Run a task with these options, None for the default, and the further `settings`, NAME=VALUE each."""
    from lightning_inr.run import run_arguments

    given = [f"{name}={_to_word(value)}" for name, value in options.items() if value is not None]
    # A setting of the user replaces an option of the verb.
    further = list(settings or [])
    replaced = {each.partition("=")[0] for each in further}
    run_arguments([f"task={task}", *(each for each in given if each.partition("=")[0] not in replaced), *further])


def to_options(settings: Sequence[str] | None) -> Mapping[str, str]:
    """NAME=VALUE, each, as a mapping; UserError for another form."""
    for each in settings or []:
        if not re.match(r"[+~]*[\w./@]+=", each):
            raise UserError(f"--set {each}: write NAME=VALUE, as in --set rank=4")
    return {name: value for name, _, value in (each.partition("=") for each in settings or [])}


def to_height_first(size: str | None) -> str | None:
    """WIDTHxHEIGHT as HEIGHTxWIDTH, the order of the task's option; UserError for another form."""
    if size is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if match is None:
        raise UserError(f"--size {size}: write WIDTHxHEIGHT, as in --size 1280x720")
    return f"{match[2]}x{match[1]}"


def _to_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
