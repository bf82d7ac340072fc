"""A browser reads the tensors of a page as `decode` reads those of the file."""

import base64
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser

from lightning_inr.codec import Codec, QuantizationStep, decode, read_coded
from lightning_inr.export import weights
from lightning_inr.export.page import SOURCES
from lightning_inr.export.weights import frequency_order, pack_payload, pack_tensor
from lightning_inr.models.hnerv import HNeRV
from tests.conftest import small_model

CASES = {
    "latent_inr_grids": Codec({"base": 12, "latents": 10}),
    "latent_inr": Codec({"grid": 16, "hyper": 32}, default_bits=6),
    "hnerv": Codec(default_bits=9),
    "dnerv": Codec(ranges="channel"),
    "nirvana": Codec(default_bits=3, coder="huffman"),
}
READ = """async (payload) => {
    const { weights } = await readPayload(bytesOf(payload));
    return Array.from(new Float32Array(weights.buffer));
}"""


def encoded(name: str) -> bytes:
    """The file of a small model: coefficients and embeddings that need every form of a part."""
    model, steps = small_model(name), {}
    model.decoder_only()
    if name == "latent_inr_grids":  # more steps than a byte holds
        steps = {key: QuantizationStep(1e-3, 0.0) for key in model.state_dict() if key.endswith(("table", "maps.0"))}
    if isinstance(model, HNeRV):  # as alike as those of consecutive frames
        with torch.no_grad():
            content = model.embeddings["content"]
            content.copy_(content[:1] + 0.01 * torch.arange(len(content))[:, None, None, None])
    return CASES[name].encode(model, steps)


@pytest.mark.parametrize("name", CASES)
def test_a_browser_reads_the_tensors_of_a_file(name: str, browser: Browser) -> None:
    data = encoded(name)
    coded = read_coded(data)
    packed = [pack_tensor(entry, tensor) for entry, tensor in coded]
    parts = [part for _, parts in packed for part in parts]
    assert name != "hnerv" or any(each.get("differences") for each, _ in packed)
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
