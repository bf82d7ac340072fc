"""An exported page in Chromium, opened from disk with the network cut."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route

from lightning_inr.codec import decode
from lightning_inr.export import export
from lightning_inr.export.runtime import WebRuntime
from tests.docs.pages import DOCS, programs_of
from tests.export.conftest import POSITIONS, write_small

SECONDS = 60_000  # milliseconds until a frame must be there, on a busy machine
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class OpenPage:
    """A page of a file, and everything that went wrong in it."""

    def __init__(self, page: Page, bitstream: Path) -> None:
        self.page, self.bitstream = page, bitstream
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.context.route("**/*", self._pass_local)
        page.context.set_offline(True)

    def _pass_local(self, route: Route) -> None:
        if route.request.url.startswith(("file:", "blob:", "data:")):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def wait_for(self, position: float, scale: int = 1) -> None:
        """Until the frame at `position` is drawn."""
        self.page.wait_for_selector(f'#screen[data-position="{position:g}"][data-scale="{scale}"]', timeout=SECONDS)

    def scrub(self, position: float) -> None:
        self.page.evaluate(
            """(position) => {
                const slider = document.getElementById("position");
                slider.value = position;
                slider.dispatchEvent(new Event("input"));
            }""",
            position,
        )

    def pixels(self) -> Pixels:
        """What the canvas shows, (H, W, 3)."""
        url = self.page.evaluate("document.getElementById('screen').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))

    def assert_shows(self, position: float, scale: int = 1) -> None:
        model = decode(self.bitstream.read_bytes())
        [frame] = model.render([position], (model.video.height * scale, model.video.width * scale))
        wanted = frame.permute(1, 2, 0).numpy()
        shown = self.pixels()
        assert shown.shape == wanted.shape
        differences = np.abs(shown.astype(int) - wanted)
        assert (differences <= 1).mean() >= 0.999, differences.max()


@pytest.fixture
def opened(browser: Browser, runtime: WebRuntime, tmp_path: Path) -> Iterator[Callable[..., OpenPage]]:
    contexts = []

    def open_page(name: str, **options: Any) -> OpenPage:
        bitstream = write_small(tmp_path / f"{name}.linr", name)
        export(bitstream, tmp_path / f"{name}.html")
        contexts.append(browser.new_context(**options))
        opened = OpenPage(contexts[-1].new_page(), bitstream)
        opened.page.goto((tmp_path / f"{name}.html").as_uri())
        opened.wait_for(0)
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["latent_inr_grids", "t_nerv"])
def test_a_page_shows_the_frames_of_decode_without_the_network(name: str, opened: Callable[..., OpenPage]) -> None:
    page = opened(name)
    for position in POSITIONS:
        page.scrub(position)
        page.wait_for(position)
        page.assert_shows(position)
    page.page.select_option("#scale", "2")
    page.wait_for(POSITIONS[-1], scale=2)
    page.assert_shows(POSITIONS[-1], scale=2)
    assert page.requests == page.errors == []


def test_it_plays_and_is_operated_by_keys(opened: Callable[..., OpenPage], capsys: pytest.CaptureFixture[str]) -> None:
    page = opened("latent_inr_grids")
    page.page.click("#play")
    drawn: set[str | None] = set()
    end = time.monotonic() + 30
    while len(drawn) < 5 and time.monotonic() < end:
        drawn.add(page.page.get_attribute("#screen", "data-position"))
    assert drawn == {"0", "1", "2", "3", "4"}
    with capsys.disabled():
        print(f"\n{page.page.inner_text('#rate')}")
    page.page.keyboard.press("Space")
    assert page.page.inner_text("#play") == "Play"
    page.page.keyboard.press("Home")
    page.wait_for(0)
    for key, position in (("ArrowRight", 1), ("ArrowRight", 2), ("Shift+ArrowLeft", 1.9), ("End", 4), ("ArrowLeft", 3)):
        page.page.keyboard.press(key)
        page.wait_for(position)
    page.page.keyboard.press("ArrowDown")
    assert page.page.input_value("#speed") == "0.5"
    page.page.click("#play")
    page.page.wait_for_selector('#screen[data-position="3.5"]', timeout=SECONDS)
    assert page.errors == []


def test_it_fits_a_phone_and_a_dark_page(opened: Callable[..., OpenPage]) -> None:
    page = opened("latent_inr_grids", viewport={"width": 360, "height": 700}, color_scheme="dark").page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    named = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].every((each) => each.ariaLabel || each.labels?.length"
        " || each.textContent.trim())"
    )
    assert named


def test_a_page_without_its_network_says_so(opened: Callable[..., OpenPage], tmp_path: Path) -> None:
    page = opened("nerv")
    path = tmp_path / "nerv.html"
    start = '<script id="payload" type="text/plain">'
    path.write_text(path.read_text().replace(start, f"{start}AAAAAAAA"))
    page.page.goto(path.as_uri())
    page.page.wait_for_selector("#status.failed", timeout=SECONDS)
    assert page.page.inner_text("#status").startswith("The video cannot be decoded here: ")


def test_the_programs_of_the_guide_run(runtime: WebRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_small(Path("clip.linr"), "latent_inr_grids")
    found: dict[str, Any] = {}
    for program in programs_of(DOCS / "guide" / "player.md"):
        exec(program, found)
    assert found["frames"].shape == (2, 3, 22, 30)
    assert Path("clip.html").stat().st_size > runtime.embedded_bytes
