"""The option reference: every file of every group, every option with its value and its comment."""

import sys

import pytest

from tests.docs.pages import DOCS, ROOT

sys.path.insert(0, str(DOCS))

import generate


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generate.pages()


def test_options_have_their_names_values_and_comments(pages: dict[str, str]) -> None:
    assert "| `seed` | `0` | of all random numbers |" in pages["config.md"]
    assert "| `limits` |  |" in pages["config.md"]
    assert "| `dataset.crop` | `null` | \\[height, width\\]" in pages["clip_options.md"]
    assert "| `dataset.path` | `???` |" in pages["dataset.md"]
    assert "| `model.strides` | `[5, 2, 2]` |" in pages["model.md"]
    assert "_target_" not in "".join(pages.values())
    assert "hydra.sweeper" not in pages["experiment.md"]
    assert "Sweeps over `codec.coder=range,huffman`." in pages["experiment.md"]


def test_a_file_lists_the_options_it_changes(pages: dict[str, str]) -> None:
    preset = pages["model.md"].partition("`model=nerv_320x180`")[2].partition("\n## ")[0]
    assert "Built on `model=nerv`." in preset
    assert "`model.stem_width` | `64`" in preset
    assert "`model.octaves`" not in preset


def test_every_file_of_every_group_is_listed(pages: dict[str, str]) -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        group = path.parent.relative_to(ROOT / "conf").as_posix()
        if group != ".":
            assert f"## `{group.replace('/', '.')}={path.stem}`" in pages[generate.page_of(group)]
            assert f"({generate.page_of(group)}#{path.stem.lower()})" in pages["index.md"]


def test_every_group_has_a_heading() -> None:
    assert set(generate.groups()) == set(generate.GROUPS)


def test_every_verb_of_the_console_command_is_described() -> None:
    text = generate.console()
    assert "### `encode`" in text
    assert "| `--bpp` |  | Target size in bits per pixel, such as 0.2. |" in text
    assert "| `FILE.linr` |  | A .linr file; - is standard input. |" in text


def test_floors_are_those_that_are_tested() -> None:
    table = generate.floors()
    assert "| `codec` |" in table
    assert "| `tasks` |" in table
