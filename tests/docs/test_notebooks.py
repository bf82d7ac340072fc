"""The notebooks of docs/notebooks run from the first cell to the last, in a new kernel and an empty folder."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import av
import nbformat
import pytest
from nbclient import NotebookClient

import lightning_inr as li
from tests.docs.pages import DOCS, PAGES, ROOT

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
SECONDS = 1200  # of a cell; a loaded machine takes several times what a quiet one does
CHECK = "assert _exit_code == 0, 'the command failed'  # Jupyter goes on"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; kernels find this package and its commands, and no former results."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("LIGHTNING_INR_DATA", raising=False)
    (tmp_path / "notebook").mkdir()
    return tmp_path / "notebook"


def _read(name: str) -> Any:
    return nbformat.read(DOCS / "notebooks" / f"{name}.ipynb", as_version=4)


def _run(name: str, folder: Path) -> str:
    """The text that the cells of a notebook print; an error in a cell or in a command fails."""
    notebook = _read(name)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("!"):
            cell.source += f"\n{CHECK}"
    NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.get("text", "") for output in outputs)


def test_first_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTEBOOK_STEPS", "10")
    text = _run("first_steps", folder)
    assert len(li.open(folder / "runs/first_steps/bunny.linr")) == 132
    with av.open(str(folder / "runs/first_steps/slow.mp4")) as slow:
        assert slow.streams.video[0].frames == 24 * 4 + 1
    assert re.search(r"^latents +[\d,]+ bytes", text, re.MULTILINE)
    assert "16 clips; a batch has (4, 8, 3, 90, 160)" in text


def test_search_and_chat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTEBOOK_SHARE", "0")
    text = _run("search_and_chat", folder)
    collection = folder / "runs/shapes_chat"
    assert [len(li.open(collection / f"video{number}.linr")) for number in (0, 7)] == [36, 36]
    assert (folder / "runs/shapes_projector.safetensors").exists()
    assert re.search(r"^-?\d\.\d{3}  video[07] +frame +\d+, \d\.\d\d s  A purple ball rolls down\.", text, re.MULTILINE)
    assert "What happens?  " in text
    assert "  caption: A purple ball rolls down." in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_named_in_a_page(path: Path) -> None:
    for cell in _read(path.stem).cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)
        commands = [line for line in cell.source.splitlines() if line.startswith("!")]
        assert len(commands) == cell.source.startswith("!"), "a command needs its own cell, or its failure is not seen"
    assert any(f"`docs/notebooks/{path.name}`" in page.read_text() for page in PAGES)
