"""The programs of docs/guide/python.md use existing names and arguments; the data loader runs."""

import ast
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_inr as li
from tests.docs.pages import DOCS, ROOT, programs_of

TINY = ROOT / "tests" / "docs" / "examples" / "tiny.linr"
CALLS, LOADER = programs_of(DOCS / "guide" / "python.md")


def _nodes(kind: type[Any]) -> Iterator[Any]:
    for node in ast.walk(ast.parse(CALLS)):
        if isinstance(node, kind):
            yield node


def test_every_name_exists() -> None:
    owners = {"li": li, "video": li.open(TINY)}
    named = [node for node in _nodes(ast.Attribute) if isinstance(node.value, ast.Name)]
    assert len(named) >= 8
    for node in named:
        assert node.attr in dir(owners[node.value.id]), ast.unparse(node)


def test_every_call_has_existing_arguments() -> None:
    for node in _nodes(ast.Call):
        assert isinstance(node.func, ast.Attribute)
        assert isinstance(node.func.value, ast.Name)
        first = [None] if node.func.value.id == "video" else []  # self
        called = getattr({"li": li, "video": li.Video}[node.func.value.id], node.func.attr)
        inspect.signature(called).bind(
            *first, *node.args, **{each.arg: each.value for each in node.keywords if each.arg}
        )


def test_the_data_loader_gives_batches_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(TINY, tmp_path / "clip.linr")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(LOADER, found)
    [batch] = found["loader"]
    assert batch.shape == (2, 3, 4, 6)
    assert batch.dtype == torch.float32
