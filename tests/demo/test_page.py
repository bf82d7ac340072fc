"""The page in Chromium at a phone's width: every tab as people use it, and no request to another host (`page`)."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page

from lightning_inr.codec import decode
from lightning_inr.demo.options import DemoOptions
from lightning_inr.demo.server import serving
from tests.conftest import moving_square, write_mp4, write_result
from tests.demo.conftest import HOSTILE


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def choose(page: Page, name: str) -> None:
    """Choose a file in the list."""
    page.fill("#file input", name)
    page.get_by_role("option", name=name).first.click()


def wait_until(condition: Callable[[], bool], page: Page | None = None, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        page.wait_for_timeout(100) if page is not None else time.sleep(0.1)


def fits() -> list[psutil.Process]:
    """The fits that run, started by this process."""
    found = []
    for each in psutil.Process().children(recursive=True):
        try:
            if "lightning_inr.demo.watched" in each.cmdline() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except psutil.NoSuchProcess:
            continue
    return found


def upload(page: Page, video: Path) -> None:
    """Choose a video, and wait until it is there (its name alone is shown already while it is sent)."""
    tab(page, "Encode")
    page.set_input_files("#upload input[type=file]", video)
    page.wait_for_selector("#upload .file-preview")


def scrub(page: Page, position: float) -> None:
    page.eval_on_selector(
        ".linr-position", "(range, to) => { range.value = to; range.dispatchEvent(new Event('input')) }", position
    )
    page.wait_for_selector(f"linr-player[data-shown='{position:.4f}']")


def test_it_plays_and_scrubs_at_a_phones_width(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.query_selector("#linr-first") is None  # the player has replaced it
    scrub(page, 3.5)
    assert "frame 3.50 of 11" in page.inner_text(".linr-time")
    page.select_option(".linr-speed", "0.5")
    page.click(".linr-play")
    page.wait_for_selector("linr-player[data-shown='11.0000']")
    page.eval_on_selector(".linr-height", "range => { range.value = 96; range.dispatchEvent(new Event('input')) }")
    page.wait_for_function("document.querySelector('.linr-stage canvas').width === 128")


def test_it_compares_with_the_source_and_is_operated_by_keys(page: Page) -> None:
    page.select_option(".linr-view", "wipe")
    page.wait_for_selector(".linr-wipe:visible")
    for view in ("difference", "source", "decoded"):
        with page.expect_response(f"**/linr/frame?*view={view}*") as got:
            page.select_option(".linr-view", view)
        assert got.value.status == 200
    page.focus(".linr-stage canvas")
    page.keyboard.press("End")
    page.wait_for_selector("linr-player[data-shown='11.0000']")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("linr-player[data-shown='10.0000']")


def test_a_file_is_downloaded_as_mp4_and_as_it_is(page: Page, made: Path) -> None:
    with page.expect_download() as mp4:
        page.click(".linr-mp4")
    assert b"ftyp" in Path(mp4.value.path()).read_bytes()[:16]
    with page.expect_download() as linr:
        page.click(".linr-linr")
    assert Path(linr.value.path()).read_bytes() == (made / "0.linr").read_bytes()


def test_a_file_of_several_segments_plays_across_them_and_plots_its_latents(page: Page) -> None:
    choose(page, "video2")
    page.wait_for_selector("linr-player[data-file=f2][data-shown]")
    for position in (5, 6, 11):  # the last of one segment, the first of the next
        scrub(page, position)
    assert "frame 11.00 of 11" in page.inner_text(".linr-time")
    tab(page, "Latents")
    page.get_by_role("button", name="Plot the latents").click()
    page.wait_for_selector("#latents .scatterlayer .point")


def test_foreign_text_is_shown_as_text(page: Page) -> None:
    assert HOSTILE in page.inner_text(".linr-facts")
    choose(page, HOSTILE)
    page.wait_for_selector("linr-player[data-file=f1][data-shown]")
    assert page.query_selector(".linr-facts b") is None


def test_a_damaged_file_is_one_line_on_every_tab(page: Page) -> None:
    choose(page, "video3")
    page.wait_for_selector("#player .linr-error")
    assert "damaged" in page.inner_text("#player .linr-error")
    tab(page, "Ask")
    page.fill("#question textarea, #question input", "What?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask-problem .linr-error")
    tab(page, "Latents")
    page.get_by_role("button", name="Plot the latents").click()
    page.wait_for_selector("#latents-text .linr-error")
    assert "\n" not in page.inner_text("#latents-text .linr-error")


def test_words_find_frames_and_a_click_plays_from_there(page: Page) -> None:
    tab(page, "Search")
    page.fill("#words textarea, #words input", "a red ball")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits .linr-hit")
    assert page.locator(".linr-hit").count() == 3
    assert "1 of the videos cannot be searched" in page.inner_text("#hits")
    assert HOSTILE in page.inner_text("#hits")
    hit = page.locator(".linr-hit").nth(1)
    key, frame = hit.get_attribute("data-file"), hit.get_attribute("data-position")
    hit.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"linr-player[data-file={key}][data-shown='{float(str(frame)):.4f}']:visible")


def test_the_frame_in_view_is_a_query(page: Page) -> None:
    scrub(page, 4)
    page.click("#similar")
    page.wait_for_selector("#hits .linr-hit:visible")
    first = page.inner_text(".linr-hit >> nth=0")
    assert "video0, 0.16 s" in first
    assert "score 1.000" in first


def test_an_image_is_a_query_and_a_text_is_none(page: Page, tmp_path: Path) -> None:
    tab(page, "Search")
    (tmp_path / "a.png").write_bytes(b"no image")
    page.set_input_files("input[type=file][accept*=image]", tmp_path / "a.png")
    page.wait_for_selector("#hits .linr-error")
    assert "not an image" in page.inner_text("#hits")


def test_a_question_is_answered_from_tokens_with_their_frames(page: Page) -> None:
    tab(page, "Ask")
    page.fill("#question textarea, #question input", "What is <b>it</b>?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#tokens img")
    assert page.locator("#tokens img").count() == 3
    wait_until(lambda: len(page.inner_text("#talk").split("What is <b>it</b>?")[-1].strip()) > 5, page)
    assert "random weights" in page.inner_text("#tokens")


def test_a_question_without_a_projector_names_the_remedy(page: Page) -> None:
    choose(page, "video2")
    tab(page, "Ask")
    page.fill("#question textarea, #question input", "What is it?")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("#ask-problem .linr-error")
    assert "task=align" in page.inner_text("#ask-problem")


def test_points_of_plots_show_their_frames(page: Page) -> None:
    tab(page, "Latents")
    page.get_by_role("button", name="Plot the latents").click()
    page.wait_for_selector("#latents .scatterlayer .point")
    page.wait_for_timeout(500)  # until the click is connected
    page.locator("#latents .scatterlayer .point").nth(5).click(force=True)
    page.wait_for_selector("linr-points[data-plot=latents] img")
    tab(page, "Compare")
    page.wait_for_selector("#compare .scatterlayer .point")
    page.click("#compare-point input")
    page.get_by_role("option").first.click()
    page.wait_for_selector("text=no video.linr in its folder")


def choose_point(page: Page, plot: str, keys: list[str]) -> str:
    """Press keys on a plot; the description of the frame that is then shown."""
    page.wait_for_selector(f"#{plot} .js-plotly-plot[tabindex='0'] .point")
    page.focus(f"#{plot} .js-plotly-plot")
    for key in keys:
        page.keyboard.press(key)
    return str(page.locator(f"linr-points[data-plot={plot}] img").get_attribute("alt"))


def test_points_of_plots_are_chosen_by_keys(page: Page) -> None:
    tab(page, "Latents")
    page.get_by_role("button", name="Plot the latents").click()
    assert (
        choose_point(page, "latents", ["ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft", "Enter"])
        == "frame 1, 0.04 s"
    )
    assert page.inner_text("linr-points [role=status]") == "frame 1, 0.04 s"
    assert page.locator("#latents .linr-marked").count() == 1
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("linr-points [role=status]") == "frame 11, 0.44 s"
    page.keyboard.press("Enter")
    page.wait_for_selector("linr-points img[alt^='frame 11']")


def test_runs_are_compared_by_keys(browser: Browser, made: Path, tmp_path: Path) -> None:
    for name, psnr in (("one", 30.0), ("two", 33.0)):
        write_result(tmp_path / name, video="clip", psnr=psnr)
        (tmp_path / name / "video.linr").write_bytes((made / "0.linr").read_bytes())
    with serving(tmp_path, "127.0.0.1", None, "compare", DemoOptions(device="cpu")) as url:
        page = browser.new_page()
        page.goto(url)
        assert "30.00 dB" in choose_point(page, "compare", ["Home", "Enter"])
        assert page.evaluate("document.querySelector('linr-points img').decode().then(() => true)")
        page.close()


def test_a_video_is_encoded_and_played(page: Page, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "it's ${a} <b>clip.mp4", moving_square(8))
    upload(page, video)
    page.fill("#bpp input", "2")
    page.get_by_role("button", name="Encode", exact=True).click()
    page.wait_for_selector("#encode-picture img", timeout=120_000)
    page.wait_for_selector("#encode-status a", timeout=120_000)
    assert "bits per pixel" in page.inner_text("#encode-status")
    with page.expect_download() as linr:
        page.click("#encode-status a")
    assert decode(Path(linr.value.path()).read_bytes()).video.frames == 8
    page.get_by_role("button", name="Play it").click()
    page.wait_for_selector("linr-player[data-frames='8'][data-shown]:visible")
    assert not fits()


def test_cancelling_or_closing_the_page_ends_the_fit(page: Page, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "clip.mp4", moving_square(8))
    upload(page, video)
    page.get_by_role("button", name="Encode", exact=True).click()
    wait_until(lambda: len(fits()) == 1, page)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("text=cancelled")
    wait_until(lambda: not fits(), page)
    page.get_by_role("button", name="Encode", exact=True).click()
    wait_until(lambda: len(fits()) == 1, page)
    page.close()
    wait_until(lambda: not fits())


@pytest.mark.parametrize(("content", "message"), [(b"no video", "not a video"), (b"", "0 bytes")])
def test_an_upload_that_is_no_video_is_one_line(page: Page, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    upload(page, tmp_path / "a.mp4")
    page.get_by_role("button", name="Encode", exact=True).click()
    page.wait_for_selector("#encode-status .linr-error")
    assert message in page.inner_text("#encode-status")
    assert not fits()
