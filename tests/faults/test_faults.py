"""A few of the faults of `python -m tests.faults`, which takes hours."""

from pathlib import Path

import pytest

from tests.faults.harness import FIT, failed, killed


@pytest.mark.parametrize("number", [6, 14])
def test_a_fit_killed_at_a_file_system_call(tmp_path: Path, number: int) -> None:
    assert killed(FIT, tmp_path / "work", number).problem is None


@pytest.mark.parametrize(("kind", "number"), [("full", 2), ("full_temp", 1), ("failing", 3)])
def test_a_fit_on_a_disk_that_fails(tmp_path: Path, kind: str, number: int) -> None:
    assert failed(FIT, tmp_path / "work", number, kind).problem is None
