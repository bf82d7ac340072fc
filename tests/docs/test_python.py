"""The programs of docs/guide/python.md use existing names and arguments; the data loader runs."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_inr as li
from lightning_inr.codec import Codec
from lightning_inr.types import VideoShape
from tests.conftest import small_model
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


def test_the_data_loader_gives_batches_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("collection").mkdir()
    for name, length in (("clip", 32), ("other", 50)):
        data = Codec().encode(small_model(video=VideoShape(length, 24, 32, 25.0)))
        Path("collection", f"{name}.linr").write_bytes(data)
    found: dict[str, Any] = {}
    exec(LOADER, found)
    assert len(found["clips"]) == 5
    assert {"collection/clip.linr", "collection/other.linr"} >= set(found["files"])
    assert found["frames"].shape[1:] == (8, 3, 112, 112)
    assert found["frames"].dtype == torch.uint8
    assert found["numbers"].shape == found["frames"].shape[:2]
