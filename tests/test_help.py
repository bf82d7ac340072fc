"""`--help`: description, five commands, every option of the chosen files with its comment."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from lightning_inr.options import choices, config_options, declared, groups, title
from tests.conftest import Outcome

Cli = Callable[..., Outcome]


def printed_options(text: str) -> set[str]:
    """The names of the lines `  name=value`."""
    return {line.strip().partition("=")[0] for line in text.splitlines() if line.startswith("  ") and "=" in line}


def test_the_help_shows_five_commands_and_every_option_of_the_run_and_of_the_chosen_files(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    about, commands, *_ = outcome.out.split("\n\n")
    assert about.startswith("Fit a neural network to a video")
    assert commands.count("python -m lightning_inr.run") == 5
    names = printed_options(outcome.out)
    assert {name for name in config_options() if name != "limits"} <= names
    assert {"dataset.height", "rank", "model.width", "module.loss", "rate_weight", "codec.bits"} <= names
    assert "model.strides" not in names
    assert all(f"\n{group}=" in outcome.out for group in groups())
    assert max(len(line) for line in outcome.out.splitlines() if "stages=" not in line) <= 120


def test_the_help_of_a_model_shows_its_options(cli: Cli) -> None:
    text = cli("--help", "model=hnerv").out
    assert text.startswith("model=hnerv: HNeRV (CVPR 2023)")
    names = printed_options(text)
    assert {name for name in declared("model", "hnerv") if name.startswith("model.")} - {"model.name"} <= names
    assert not {"run_dir", "rank", "dataset.height"} & names
    assert "model.strides=[5, 4, 4, 2, 2]" in text


def test_the_help_of_a_task_names_required_options_with_comments(cli: Cli) -> None:
    text = cli("--help", "task=decode").out
    assert printed_options(text) == {"bitstream", "out", "size", "frames", "slowdown", "fps"}
    assert "must be given; a .linr file" in " ".join(text.split())
    former = cli("--help", "task=answers").out
    assert "answers.ask=[Describe the video., What happens?, What colours are there?]" in former


def test_the_help_of_an_experiment_shows_its_values(cli: Cli) -> None:
    text = cli("--help", "experiment=bunny_family").out
    assert "sets params=0.5M" in text
    assert "sets module.learning_rate=${short_learning_rate}" in text


def test_the_help_shows_the_values_of_the_command(cli: Cli) -> None:
    assert "  max_epochs=20 " in cli("--help", "max_epochs=20").out


def test_the_help_for_an_unknown_file_is_an_error(cli: Cli) -> None:
    outcome = cli("--help", "model=hnervv")
    assert outcome.code == 1
    assert "model=hnervv: did you mean hnerv" in outcome.error


def test_hydras_own_help_still_exists(cli: Cli) -> None:
    assert "== Flags ==" in cli("--hydra-help").out


def test_the_help_takes_less_than_a_second_and_does_not_import_torch() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", "-m", "lightning_inr.run", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HYDRA_FULL_ERROR": "0"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 0
    assert " torch\n" not in ended.stderr
    # Of the processor: what a clock shows depends on what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("group", groups())
def test_every_configuration_file_has_a_title(group: str) -> None:
    assert all(title(group, choice) for choice in choices(group))
