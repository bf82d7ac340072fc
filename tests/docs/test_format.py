"""docs/format.md is exact: a reader written from it reads every file, and its example is the printed file."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_inr.codec import Codec, decode, read_segment_table
from lightning_inr.codec.coefficients import dequantize_table, parameters_of, quantize_table, runs_of
from lightning_inr.codec.entropy import CODERS
from lightning_inr.models import MODELS
from lightning_inr.types import GridLayout
from tests.conftest import small_model
from tests.docs.examples import read_linr
from tests.docs.pages import DOCS, ROOT

TINY = ROOT / "tests" / "docs" / "examples" / "tiny.linr"
GOLDEN = sorted((ROOT / "tests" / "codec" / "golden").rglob("*.linr"))
PAGE = (DOCS / "format.md").read_text()


@pytest.mark.parametrize("ranges", ["tensor", "channel"])
@pytest.mark.parametrize("coder", ["range", "huffman"])
@pytest.mark.parametrize("name", list(MODELS))
def test_the_reader_of_the_page_reads_every_model(name: str, coder: str, ranges: str) -> None:
    data = Codec(default_bits=6, coder=coder, ranges=ranges).encode(small_model(name))
    _, tensors = read_linr.read_linr(data)
    expected = decode(data).state_dict()
    assert set(tensors) == set(expected)
    for tensor in expected:
        np.testing.assert_allclose(tensors[tensor], expected[tensor].numpy(), atol=1e-5, err_msg=tensor)


@pytest.mark.parametrize(
    "layout",
    [GridLayout((5, 70), 20, 37, 2), GridLayout((1,), 1, 1, 1), GridLayout((3, 1, 2), 12, 9, 3)],
    ids=["blocks and shots", "one number", "small"],
)
def test_the_reader_of_the_page_reads_tables_over_time(layout: GridLayout) -> None:
    table = torch.randn(layout.slices, layout.rows * layout.columns, layout.channels).cumsum(0)
    coefficients = quantize_table(table, layout, 0.3, 256)
    parameters = parameters_of(coefficients, layout)
    words = CODERS["range"].encode(runs_of(coefficients, parameters, layout))
    take = read_linr.range_decoder(words.tolist())
    read = read_linr.read_table(parameters.tobytes(), [list(layout.groups), *layout[1:]], take)
    np.testing.assert_allclose(read, dequantize_table(coefficients, layout).numpy(), atol=1e-4)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}, {path.stem}")
def test_the_reader_of_the_page_reads_the_golden_files(path: Path) -> None:
    for _, data in read_linr.read_segments(path.read_bytes()):
        _, tensors = read_linr.read_linr(data)
        for name, tensor in decode(data).state_dict().items():
            np.testing.assert_allclose(tensors[name], tensor.numpy(), atol=1e-5)


def test_the_reader_of_the_page_finds_the_segments() -> None:
    [path] = [each for each in GOLDEN if each.parent.name == "version_4"]
    data = path.read_bytes()
    table, segments = read_segment_table(data), read_linr.read_segments(data)
    assert table is not None
    assert [first for first, _ in segments] == list(table.firsts)
    assert [segment for _, segment in segments] == [table.part(data, number)[:] for number in range(len(segments))]


def test_there_are_golden_files_of_all_versions() -> None:
    assert {path.parent.name for path in GOLDEN} == {"version_2", "version_3", "version_4"}


def test_the_example_is_the_file_that_the_page_shows() -> None:
    dump, side = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    printed = bytes.fromhex("".join(line.split("  ", 1)[1] for line in dump.strip().splitlines()))
    data = TINY.read_bytes()
    assert printed == data
    header, sections = read_linr.read_container(data)
    [json_block] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(json_block) == header
    length = int.from_bytes(sections["base"][:4], "little")
    fields = "".join(re.split(r"  +", line)[1] for line in side.strip().splitlines())
    assert bytes.fromhex(fields) == zlib.decompress(sections["base"][4 : 4 + length])
    assert f"{decode(data).state_dict()['stem.0.weight'][0, 0]:.6f}" in PAGE


def test_the_example_decodes_and_encodes_to_the_same_bytes() -> None:
    data = TINY.read_bytes()
    model = decode(data)
    assert [tuple(frame.shape) for frame in model.render(range(2))] == [(3, 4, 6)] * 2
    assert Codec(default_bits=2).encode(model) == data
