"""Times of the page in Chromium: first frame, scrubbing, playing, and searching in a collection of a thousand files.

    python experiments/benchmarks/demo.py FILE.linr TEACHER [files=1000]

FILE is the file that is played, TEACHER an open_clip folder, as task=train_shapes_clip writes it. The collection is
made here: tiny networks with random weights, aligned to the teacher. Imports are not counted, and Chromium has started;
everything else is: from the call to the first frame as the server gives it, to the first frame on the page, which is
shown while Gradio's scripts load, and to the player; and from a key or a position to the picture on the page. Needs
Debian's chromium.
"""

import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import torch
import yaml
from playwright.sync_api import Browser, sync_playwright

from lightning_inr.codec import Codec
from lightning_inr.demo.options import DemoOptions
from lightning_inr.demo.server import serving
from lightning_inr.models import build
from lightning_inr.retrieval.collection import Record, write_manifest
from lightning_inr.teachers.clip import load_clip
from lightning_inr.types import EmbeddingSpace, VideoShape

SHAPE = VideoShape(24, 48, 64, 25.0)
SCRUB = """async () => {
  const player = document.querySelector('linr-player'), range = document.querySelector('.linr-position'), times = [];
  for (let step = 0; step < 40; step++) {
    const to = ((step * 37) % 100 / 100 * range.max).toFixed(2), start = performance.now();
    range.value = to;
    range.dispatchEvent(new Event('input'));
    const shown = Number(range.value).toFixed(4);
    while (player.dataset.shown !== shown) await new Promise((go) => setTimeout(go));
    times.push(performance.now() - start);
  }
  return times;
}"""
SEARCH = """async (text) => {
  const box = document.querySelector('#words textarea, #words input'), hits = document.querySelector('#hits');
  const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(box), 'value').set;
  set.call(box, text);
  box.dispatchEvent(new Event('input', {bubbles: true}));
  await new Promise((go) => setTimeout(go, 300));
  const list = () => hits.querySelector('.linr-hits')?.innerHTML;
  const before = list(), start = performance.now();
  box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
  box.dispatchEvent(new KeyboardEvent('keypress', {key: 'Enter', bubbles: true}));
  while (!list() || list() === before) await new Promise((go) => setTimeout(go));
  const listed = performance.now() - start;
  await Promise.all([...hits.querySelectorAll('img')].map((image) => image.decode()));
  return [listed, performance.now() - start];
}"""
FIRST_FRAME = "document.querySelector('#linr-first')?.complete || document.querySelector('linr-player[data-shown]')"
TEXTS = [
    f"a {colour} {shape}" for colour in ("red", "blue", "green", "white") for shape in ("ball", "square", "triangle")
]
VISITORS = 20


def main() -> None:
    """Print the times."""
    file, teacher = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        measure_play(browser, file)
        write_collection(Path(name), teacher, count)
        measure_search(browser, Path(name))
        browser.close()


def measure_play(browser: Browser, file: Path) -> None:
    """Print the times of the tab Play."""
    start = time.perf_counter()
    with serving(file, "127.0.0.1", None, None, DemoOptions(device="cpu")) as url:
        read(f"{url}/linr/frame?file=f0&position=0")
        print(f"first frame from the server: {time.perf_counter() - start:.2f} s")
        page = browser.new_page()
        page.goto(url, wait_until="commit")
        page.wait_for_function(FIRST_FRAME)
        print(f"first frame on the page: {time.perf_counter() - start:.2f} s")
        page.wait_for_selector("linr-player[data-shown]")
        print(f"player on the page: {time.perf_counter() - start:.2f} s")
        show("scrubbing while the page still loads", page.evaluate(SCRUB))
        show("scrubbing", page.evaluate(SCRUB))
        page.evaluate("document.querySelector('linr-player').want(0)")
        page.click(".linr-play")
        page.wait_for_timeout(2500)
        print(f"playing: {page.inner_text('.linr-rate')}")
        page.close()


def measure_search(browser: Browser, folder: Path) -> None:
    """Print the times of the tab Search, warm, and of many visitors at once."""
    with serving(folder, "127.0.0.1", None, "search", DemoOptions(device="cpu")) as url:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("#words")
        page.evaluate(SEARCH, "warm up")
        times = [page.evaluate(SEARCH, text) for text in TEXTS]
        show("search, hits listed", [listed for listed, _ in times])
        show("search, thumbnails decoded too", [shown for _, shown in times])
        page.close()
        measure_visitors(url)  # Gradio first creates a state for each session, one after the other
        measure_visitors(url)
    with serving(folder, "127.0.0.1", None, None, DemoOptions(device="cpu")) as url:
        print("a new server, whose first searches load the teacher:")
        measure_visitors(url)
        measure_visitors(url)


def measure_visitors(url: str) -> None:
    """Print the times of VISITORS searches that are started at once."""
    events = json.loads(read(f"{url}/config"))["dependencies"]
    event = next(each["id"] for each in events if [kind for _, kind in each["targets"]] == ["submit", "click"])
    times: list[float] = []

    def search(visitor: int) -> None:
        start = time.perf_counter()
        values = {"data": [TEXTS[visitor % len(TEXTS)], 8], "fn_index": event, "session_hash": f"visitor{visitor}"}
        headers = {"Content-Type": "application/json"}
        join = urllib.request.Request(f"{url}/gradio_api/queue/join", json.dumps(values).encode(), headers)
        urllib.request.urlopen(join).close()
        with urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash=visitor{visitor}") as lines:
            next(line for line in lines if b'"process_completed"' in line)
        times.append(1000 * (time.perf_counter() - start))

    threads = [threading.Thread(target=search, args=[visitor]) for visitor in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show(f"{VISITORS} searches at once", times)


def write_collection(folder: Path, teacher: Path, count: int) -> None:
    """Write `count` aligned files with random weights, and their manifest."""
    space = load_clip(None, str(teacher), "cpu").embedding_space
    records = [write_file(folder, number, space) for number in range(count)]
    write_manifest(folder, records)
    (folder / "config.yaml").write_text(yaml.safe_dump({"teacher": {"model": None, "weights": str(teacher.resolve())}}))
    print(f"{count} files, {count * SHAPE.frames} frames")


def write_file(folder: Path, number: int, space: EmbeddingSpace) -> Record:
    """Write one file; its row of the manifest."""
    torch.manual_seed(number)
    model = build("latent_inr", SHAPE, latent_dim=8, width=16, layers=3, rank=4, hyper_width=8)
    model.align(space)
    data = Codec().encode(model.eval())
    (folder / f"{number}.linr").write_bytes(data)
    return Record(
        f"video{number}", f"{number}.linr", "{}", SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps, None, [], [],
        None, len(data), 1.0, 30.0, None, None, None, 1.0, 1.0,
    )  # fmt: skip


def read(url: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(url) as answer:
        body: bytes = answer.read()
    return body


def show(name: str, times: list[float]) -> None:
    """Print the median and the longest of times in milliseconds."""
    print(f"{name}: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms of {len(times)}")


if __name__ == "__main__":
    main()
