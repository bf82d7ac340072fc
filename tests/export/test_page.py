"""The page is one file that holds everything, says so in its policy, and shows foreign text as text."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lightning_inr.codec import decode
from lightning_inr.export import export, files
from lightning_inr.export.page import player_page
from lightning_inr.export.runtime import WebRuntime
from tests.export.conftest import write_small

RUNTIME = WebRuntime(b"module", b"web assembly", False)


class Elements(HTMLParser):
    """The elements of a page: name, attributes, and the text in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1][2].append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(text).strip() for name, _, text in self.found if name == tag]


@pytest.fixture(scope="module")
def bitstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("page") / "small.linr", "latent_inr_grids")


@pytest.fixture(scope="module")
def page(bitstream: Path) -> str:
    data = bitstream.read_bytes()
    return player_page("<i>a</i> & b.linr", data, decode(data), RUNTIME)


def test_a_name_is_shown_as_text(page: str) -> None:
    elements = Elements(page)
    assert elements.texts("title") == elements.texts("h1") == ["<i>a</i> & b.linr"]
    assert "i" not in [name for name, _, _ in elements.found]


def test_the_policy_allows_its_own_script_and_style_alone(page: str) -> None:
    [policy] = [attributes["content"] for _, attributes, _ in Elements(page).found if "http-equiv" in attributes]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("style", "script"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in rules[f"{tag}-src"]
    assert "unsafe-inline" not in policy


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    for name, attributes, _ in Elements(page).found:
        assert "src" not in attributes, name
        assert attributes.get("href", "data:,") == "data:,"
    assert "{{" not in page


def test_the_page_holds_the_runtime_and_the_network(page: str) -> None:
    texts = {attributes.get("id"): "".join(text) for _, attributes, text in Elements(page).found}
    assert base64.b64decode(texts["module"]) == RUNTIME.module
    assert base64.b64decode(texts["wasm"]) == RUNTIME.wasm
    assert json.loads(texts["video"]) == {
        "frames": 5, "height": 22, "width": 30, "fps": 25.0, "stride": 1, "webgpu": False,
    }  # fmt: skip
    payload = base64.b64decode(texts["payload"])
    length = int.from_bytes(payload[:4], "little")
    header: dict[str, Any] = json.loads(zlib.decompress(payload[4 : 4 + length]))
    assert header["scales"] == [1, 2]
    assert sum(header["parts"]) == len(payload) - 4 - length
    assert "The above copyright notice" in page


def test_a_written_page_states_the_share_of_the_runtime(
    bitstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "web_runtime", lambda webgpu: RUNTIME)
    written = export(bitstream, tmp_path / "small.HTML")
    assert written.bytes == written.path.stat().st_size
    assert written.runtime_bytes == RUNTIME.embedded_bytes == 8 + 16
    assert written.bytes - written.runtime_bytes - bitstream.stat().st_size < 60_000
