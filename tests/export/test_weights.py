"""A browser reads the tensors of a page as `decode` reads those of the file."""

import base64
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from lightning_inr.codec import Codec, QuantizationStep, decode, read_coded
from lightning_inr.export import weights
from lightning_inr.export.page import SOURCES
from lightning_inr.export.weights import frequency_order, pack_payload, pack_tensor
from tests.conftest import small_model

CASES = {
    "latent_inr_grids": Codec({"base": 12, "latents": 10}),
    "latent_inr": Codec({"grid": 16, "hyper": 32}, default_bits=6),
    "hnerv": Codec(ranges="channel", default_bits=9),
    "nirvana": Codec(default_bits=3, coder="huffman"),
}
READ = """async (payload) => {
    const { weights } = await readPayload(bytesOf(payload));
    return Array.from(new Float32Array(weights.buffer));
}"""


@pytest.mark.parametrize("name", CASES)
def test_a_browser_reads_the_tensors_of_a_file(name: str, browser: Browser) -> None:
    model = small_model(name)
    model.decoder_only()
    steps = {}
    if name == "latent_inr_grids":  # more steps than a byte holds
        steps = {key: QuantizationStep(1e-3, 0.0) for key in model.state_dict() if key.endswith(("table", "maps.0"))}
    data = CASES[name].encode(model, steps)
    coded = read_coded(data)
    packed = [pack_tensor(entry, tensor) for entry, tensor in coded]
    parts = [part for _, parts in packed for part in parts]
    payload = pack_payload({"scales": [], "tensors": [description for description, _ in packed]}, parts)
    page = browser.new_page()
    page.add_script_tag(content=(SOURCES / "worker.js").read_text())
    read = np.array(page.evaluate(READ, base64.b64encode(payload).decode()), np.float32)
    page.close()
    state = decode(data).state_dict()
    wanted = np.concatenate([state[entry.name].numpy().ravel() for entry, _ in coded])
    np.testing.assert_allclose(read, wanted, atol=2e-6)


def test_the_order_is_by_frequency() -> None:
    assert list(frequency_order([2, 1], [2])) == [0, 4, 1, 5, 2, 3]
    assert sorted(frequency_order([7, 8, 7], [8, 7])) == list(range(22 * 15))


def test_constants_are_those_of_the_script() -> None:
    script = Path(SOURCES / "worker.js").read_text()
    assert f"const ESCAPE = {weights.ESCAPE};" in script
    assert f"const CAP = {weights.CAP};" in script
    assert f"const CLASS_EDGES = {list(weights.CLASS_EDGES)};" in script
