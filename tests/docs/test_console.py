"""The commands of the page on the console command are those of the program."""

import shlex

import pytest
import typer

from lightning_inr.command.app import app
from tests.docs.pages import DOCS, commands_of

COMMANDS = [line.partition(" | ")[0] for line in commands_of(DOCS / "console.md")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_parses(line: str) -> None:
    group = typer.main.get_command(app)
    program, verb, *arguments = shlex.split(line)
    assert program == "lightning-inr"
    command = group.commands[verb]  # type: ignore[attr-defined]  # a group of verbs
    command.make_context(verb, arguments)


def test_every_verb_has_a_command() -> None:
    group = typer.main.get_command(app)
    assert {line.split()[1] for line in COMMANDS} == set(group.commands)  # type: ignore[attr-defined]
