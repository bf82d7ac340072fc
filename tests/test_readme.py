"""README is short, its commands are those of the tested pages, and the files it names exist."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL_OVERRIDES, Outcome
from tests.docs.pages import DOCS, DOOR, ROOT, commands_of, programs_of, runs_of

PATH = ROOT / "README.md"
README = PATH.read_text()
FIT = [each for each in SMALL_OVERRIDES if not each.startswith("logger")]


def test_the_readme_is_short() -> None:
    assert len(README.partition("```bibtex")[0].splitlines()) <= 95


def test_the_installation_is_two_commands() -> None:
    assert commands_of(PATH)[:2] == ["pip install -e .", DOOR]
    assert 'pip install -e ".[test]" && pytest' in README


def test_other_commands_are_those_of_the_docs() -> None:
    commands = {shlex.join(options) for options in runs_of(PATH)[1:]}
    assert len(commands) == 3
    assert commands <= {shlex.join(options) for options in runs_of(DOCS / "own_video.md")}  # which tests/docs runs


def test_the_python_example_is_that_of_the_docs() -> None:
    """Call by call; tests/docs compares those with the API."""
    [program], documented = programs_of(PATH), "".join(programs_of(DOCS / "guide" / "python.md"))
    for call in re.findall(r"(?:li|video)\.\w+\(.*\)", program):
        assert call in documented


def test_the_main_job_runs_without_options(cli: Callable[..., Outcome]) -> None:
    outcome = cli(*FIT, "max_epochs=1", "dataset.frames=4")  # smaller, else as it stands
    assert outcome.code == 0, outcome.err
    assert len(list(Path("runs").glob("bunny-latent_inr_grids/*/result.json"))) == 1


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_files_shown_in_the_readme_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_options_named_in_the_readme_exist() -> None:
    for group, name in re.findall(r"\b(model|experiment|task)=(\w+)", README):
        assert (ROOT / "conf" / group / f"{name}.yaml").exists()
