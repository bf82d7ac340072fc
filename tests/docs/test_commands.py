"""Every command of the documentation has existing options; those of the guides run on small clips."""

import re
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from lightning_inr.pipelines import collection as collection_pipeline
from lightning_inr.pipelines.evaluation import measure
from tests.conftest import ALIGNED, SMALL_OVERRIDES, Outcome, moving_square, write_mp4
from tests.docs.pages import DOCS, PAGES, ROOT, mentioned_runs_of, programs_of, runs_of

ADDED = ("model=key_frames", "dataset=npy", "module.loss=charbonnier")  # by the reader of docs/extend
COMMANDS = [
    pytest.param(options, id=f"{path.relative_to(DOCS)}: {' '.join(options)}"[:120])
    for path in PAGES
    for options in runs_of(path) + mentioned_runs_of(path)
    if not set(options) & set(ADDED)
]
FIT = [each for each in SMALL_OVERRIDES if not each.startswith("logger")]
FEW = "dataset.listing.videos=9"
SMALL_ALIGNED = [each for each in ALIGNED if not each.startswith(("experiment", "dataset.listing", "dataset.most"))]


def one_job(options: list[str]) -> list[str]:
    """The first job of a sweep: the first of values that are separated by commas outside brackets and quotes."""
    if "-m" not in options:
        return options
    return [re.sub(r"^([\w./@-]+=[^\[{'\",]+),.*$", r"\1", option) for option in options if option != "-m"]


@pytest.mark.parametrize("options", COMMANDS)
def test_a_command_composes(options: list[str], cli: Callable[..., Outcome]) -> None:
    outcome = cli(*one_job(options), *([] if "--help" in options else ["--cfg", "job"]))
    assert outcome.code == 0, outcome.err
    assert outcome.out


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 40


def test_tasks_named_in_the_docs_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "cli.md").read_text().partition("Former names")[0], re.MULTILINE)
    assert set(rows) == {path.stem for path in (ROOT / "conf" / "task").glob("*.yaml")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_choices_named_in_the_text_exist(path: Path) -> None:
    for group, name in re.findall(
        r"[`\s](task|model|dataset|experiment|module|callbacks)=([a-z]\w+)", path.read_text()
    ):
        if f"{group}={name}" not in ADDED:
            assert (ROOT / "conf" / group / f"{name}.yaml").exists(), f"{group}={name}"


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_have_targets(path: Path) -> None:
    for link in re.findall(r"\]\(((?!http|#)[^)#]+)", path.read_text()):
        elsewhere = "experiments/" in link or link.endswith(
            "SECURITY.md"
        )  # the site shows these as if they were in docs
        target = ROOT / re.sub(r"^(\.\./)+", "", link) if elsewhere else path.parent / link
        assert target.exists() or "options/" in link, link


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_files_named_in_the_text_exist(path: Path) -> None:
    for name in re.findall(r"`((?:lightning_inr|conf|tests|experiments|docs)/[\w./]*)`", path.read_text()):
        example = Path(name).stem in ("key_frames", "npy")
        assert example or (ROOT / name).exists(), name


def test_the_commands_for_ones_own_video_run(cli: Callable[..., Outcome]) -> None:
    write_mp4(Path("clip.mp4"), moving_square(24, 90, 160))
    commands = runs_of(DOCS / "own_video.md")
    assert len(commands) == 5
    for options in commands:
        outcome = cli(*options, *([] if any(each.startswith("task=") for each in options) else FIT))
        assert outcome.code == 0, outcome.err
    assert Path("out.mp4").stat().st_size > 0
    assert len(list(Path("frames").glob("*.png"))) == 19


def test_the_commands_for_search_and_chat_run_one_after_the_other(cli: Callable[..., Outcome]) -> None:
    search = [each for each in runs_of(DOCS / "guide" / "search.md") if "shapes" in " ".join(each)]
    chat = [each for each in runs_of(DOCS / "guide" / "chat.md") if "shapes" in " ".join(each)]
    smaller = [
        ["teacher_steps=20", FEW], [FEW, *SMALL_ALIGNED], [], [],
        ["teacher_steps=20", FEW], [FEW, "feature_cache=features"], [FEW, "questions.videos=9", *SMALL_ALIGNED], [],
    ]  # fmt: skip
    commands = [*search, *chat][: len(smaller)]
    assert len(commands) == len(smaller)
    for options, changes in zip(commands, smaller, strict=True):
        outcome = cli(*options, *changes)
        assert outcome.code == 0, f"{shlex.join(options)}\n{outcome.err}"
        if any(option.startswith("query_file=") for option in options):
            assert "video7.linr" in outcome.out
    assert "video7.linr: 8 of 36 frames" in outcome.out
    [program] = programs_of(DOCS / "guide" / "search.md")
    found: dict[str, list[object]] = {}
    exec(program, found)
    assert len(found["hits"]) == 5


def test_the_commands_for_a_folder_of_ones_own_videos_run(
    cli: Callable[..., Outcome], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_pipeline, "measuring_process", lambda: nullcontext(measure))
    Path("videos/holiday").mkdir(parents=True)
    write_mp4(Path("videos/holiday/beach.mp4"), moving_square(16), fps=1)  # with the segment of the table
    write_mp4(Path("videos/snow.mp4"), moving_square(5).flip(3))
    page = DOCS / "guide" / "search.md"
    [table] = re.findall(r"```csv\n(.*?)```", page.read_text(), re.DOTALL)
    Path("videos/captions.csv").write_text(table)
    collect, *others = [each for each in runs_of(page) if "runs/mine" in " ".join(each)]
    assert len(others) == 2
    small = [*FIT, f"teacher.weights={teacher}", "feature_cache=features"]
    for options in ([*collect, *small], *([*each, "feature_cache=features"] for each in others)):
        outcome = cli(*options)
        assert outcome.code == 0, f"{shlex.join(options)}\n{outcome.err}"
    assert Path("runs/mine/holiday__beach.mp4.linr").exists()
    assert all(protocol in outcome.out for protocol in ("class ", "segment ", "text to video "))


def test_the_commands_for_a_random_video_language_model_run(cli: Callable[..., Outcome]) -> None:
    fit, ask = [each for each in runs_of(DOCS / "guide" / "chat.md") if "runs/talking" in " ".join(each)]
    fitted = cli(*fit, "max_epochs=2", "feature_cache=features")
    assert fitted.code == 0, fitted.err
    assert cli(*ask).code == 0


def test_pages_of_the_navigation_exist() -> None:
    # Python tags, as mkdocs' own, are not of this file.
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = re.findall(r"'([\w/]+\.md)'", repr(nav))
    at_the_top = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
    assert {name for name in named if name not in at_the_top} == {str(page.relative_to(DOCS)) for page in PAGES}
    assert all((ROOT / name).exists() for name in at_the_top)
