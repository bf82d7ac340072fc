"""Size, speed and accuracy of exported pages in the Chromium of this machine, without the network.

    python experiments/benchmarks/player.py video.linr …

overhead: bytes of the page beyond the file and onnxruntime-web
start: until the first frame
scrub: from a new position to its frame, median and 95th percentile
decoded: frames a second when positions are asked for one after the other
played: frames drawn a second at normal speed
difference: the largest one from `decode`, in steps of 1/255, and the share of values that differ by more than one step
"""

import base64
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import lightning_inr as li
from lightning_inr.export import export

POSITIONS = 60  # that are scrubbed to
PLAYED = 5  # seconds
COMPARED = 6  # frames
SCRUB = """async (positions) => {
    const [screen, slider] = ["screen", "position"].map((id) => document.getElementById(id));
    const times = [];
    for (const position of positions) {
        const drawn = new Promise((resolve) => {
            const observer = new MutationObserver(() => {
                if (Number(screen.dataset.position) !== position) return;
                observer.disconnect();
                resolve();
            });
            observer.observe(screen, { attributes: true, attributeFilter: ["data-position"] });
        });
        const start = performance.now();
        slider.value = position;
        slider.dispatchEvent(new Event("input"));
        await drawn;
        times.push(performance.now() - start);
    }
    return times;
}"""
PLAY = """async (seconds) => {
    let drawn = 0;
    const observer = new MutationObserver(() => drawn++);
    observer.observe(document.getElementById("screen"), { attributes: true, attributeFilter: ["data-position"] });
    document.getElementById("play").click();
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    document.getElementById("play").click();
    return drawn / seconds;
}"""


def largest_difference(page: Page, video: li.Video) -> tuple[int, float]:
    """From `decode`, at several float positions: in steps of 1/255, and the share of values beyond one step."""
    differences = []
    for position in np.linspace(0.25, len(video) - 1.25, COMPARED).round(3).tolist():
        page.evaluate(SCRUB, [position])
        url = page.evaluate("document.getElementById('screen').toDataURL()")
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
        differences.append(np.abs(shown.astype(int) - video.at(position)))
    return int(np.max(differences)), float(np.mean(np.array(differences) > 1))


def measured(page: Page, path: Path, video: li.Video) -> dict[str, str]:
    """The figures of the page at `path`."""
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector('#screen[data-position="0"]', timeout=120_000)
    first = time.perf_counter() - start
    last = len(video) - 1
    times = page.evaluate(SCRUB, [round(number * 0.618 % 1 * last, 3) for number in range(1, POSITIONS + 1)])
    middle, high = np.percentile(times, [50, 95])
    page.evaluate(SCRUB, [0.0])
    played = page.evaluate(PLAY, PLAYED)
    difference, beyond = largest_difference(page, video)
    return {
        "start": f"{first:.1f} s", "scrub": f"{middle:.0f}, {high:.0f} ms",
        "decoded": f"{POSITIONS / sum(times) * 1000:.1f} /s", "played": f"{played:.1f} /s",
        "difference": f"{difference}, {100 * beyond:.4f} %",
    }  # fmt: skip


def main(files: list[str]) -> None:
    """One line per file."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for file in files:
            written = export(file, Path(folder) / "page.html")
            overhead = written.bytes - written.runtime_bytes - Path(file).stat().st_size
            context = browser.new_context(offline=True)
            video = li.open(file, device="cpu")
            figures = measured(context.new_page(), written.path, video)
            context.close()
            sizes = f"{Path(file).stat().st_size} bytes, overhead {overhead} bytes"
            print(f"{file}: {video.info['model']}, {sizes}, " + ", ".join(map(" ".join, figures.items())), flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
