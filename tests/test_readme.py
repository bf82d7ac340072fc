"""The README's commands, run as they stand on a small clip."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_inr.retrieval.query import Hit
from tests.conftest import ALIGNED, SMALL_OVERRIDES, Outcome, moving_square, write_mp4

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.strip() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()
]
RUNS = [command for command in COMMANDS if command.startswith("python -m lightning_inr.run")]
SMALL_ALIGNED = [each for each in ALIGNED if not each.startswith(("experiment", "dataset.listing", "dataset.most"))]
FIT = [each for each in SMALL_OVERRIDES if not each.startswith("logger")]


def test_there_are_two_commands_for_a_fresh_machine() -> None:
    assert "pip install -e . && python -m lightning_inr.run" in COMMANDS
    assert 'pip install -e ".[test]" && pytest' in COMMANDS


def test_the_commands_for_a_users_video_work_one_after_the_other(cli: Callable[..., Outcome]) -> None:
    commands = [command for command in RUNS if "shapes" not in command and "talking" not in command]
    assert len(commands) >= 5
    write_mp4(Path("clip.mp4"), moving_square(24, 90, 160))
    for command in commands:
        options = shlex.split(command)[3:]
        is_fit = not any(option.startswith("task=") for option in options)
        outcome = cli(*options, *(FIT if is_fit else []))
        assert outcome.code == 0, f"{command}\n{outcome.err}"
    assert Path("out.mp4").stat().st_size > 0
    assert len(list(Path("frames").glob("*.png"))) == 19


def test_the_commands_for_a_file_that_talks_work_one_after_the_other(cli: Callable[..., Outcome]) -> None:
    fit, ask = (shlex.split(command)[3:] for command in RUNS if "talking" in command)
    fitted = cli(*fit, "max_epochs=2", "feature_cache=features")
    assert fitted.code == 0, fitted.err
    assert "all 3 answers from latents are the teacher's own, token by token" in fitted.out
    assert "random weights: this tests plumbing, not understanding" in fitted.out
    assert "no pixel decoded" in cli(*ask).out


def test_the_commands_for_shapes_work_one_after_the_other(cli: Callable[..., Outcome]) -> None:
    commands = [command for command in RUNS if "shapes" in command]
    few = "dataset.listing.videos=9"
    smaller = [
        ["teacher_steps=20", few], [few, *SMALL_ALIGNED], [], [],
        ["teacher_steps=20", few], [few, "feature_cache=features"], [few, "questions.videos=9", *SMALL_ALIGNED], [],
    ]  # fmt: skip
    assert len(commands) == len(smaller)
    for command, options in zip(commands, smaller, strict=True):
        outcome = cli(*shlex.split(command)[3:], *options)
        assert outcome.code == 0, f"{command}\n{outcome.err}"
        if "query_file=" in command:
            assert "video7.linr" in outcome.out
    assert "video7.linr: 8 of 36 frames" in outcome.out
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    found: dict[str, list[Hit]] = {}
    exec(program, found)
    assert len(found["hits"]) == 5


def test_the_main_job_runs_without_options(cli: Callable[..., Outcome]) -> None:
    outcome = cli(*FIT, "max_epochs=1", "dataset.frames=4")  # smaller, else as it stands
    assert outcome.code == 0, outcome.err
    assert len(list(Path("runs").glob("bunny-latent_inr_grids/*/result.json"))) == 1


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_what_the_readme_shows_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_options_named_in_the_readme_exist() -> None:
    for name in re.findall(r"`model=(\w+)`", README):
        assert (ROOT / "conf" / "model" / f"{name}.yaml").exists()
    for name in re.findall(r"experiment=(\w+)|`(ablation_\w+)`", README):
        assert (ROOT / "conf" / "experiment" / f"{''.join(name)}.yaml").exists()
    for name in re.findall(r"`task=(\w+)", README):
        assert (ROOT / "conf" / "task" / f"{name}.yaml").exists()
    for folder in ("tasks", "training", "report", "retrieval", "chat", "teachers", "codec", "models", "data", "nn"):
        assert f"  {folder}/" in README
        assert (ROOT / "lightning_inr" / folder).is_dir()
