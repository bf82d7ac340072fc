from pathlib import Path

import pytest

from tests.fuzz.mutations import sound
from tests.fuzz.worker import run_cases, try_file

SEEDS = sorted((Path(__file__).parent / "seeds").glob("*.linr"))
# Large but valid: they decode, or the error names the limit to raise.
HONEST = {
    "bomb_attn64k.linr",
    "bomb_frames16M.linr",
    "bomb_frames16M_aligned.linr",
    "case_nirvana_19543.linr",
    "case_segments.linr",
}


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_files_of_former_faults(path: Path) -> None:
    outcome = try_file(0, path.read_bytes())
    assert outcome.fault is None
    assert not outcome.decoded or path.name in HONEST


@pytest.mark.parametrize("number", range(40))
def test_the_unmutated_files_are_valid(number: int) -> None:
    outcome = try_file(number, sound(number))
    assert outcome.fault is None
    assert outcome.decoded


def test_mutations_are_refused_or_decoded() -> None:
    faults = [outcome for outcome in run_cases(0, 700) if outcome.fault]
    assert not faults
