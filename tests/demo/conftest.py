"""A small collection, its page, and Debian's Chromium."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

import pytest
import torch
import yaml
from playwright.sync_api import Browser, Page, sync_playwright

from lightning_inr.codec import Codec
from lightning_inr.codec.segment_table import join_files
from lightning_inr.demo import latents
from lightning_inr.demo.library import Library
from lightning_inr.demo.options import DemoOptions, UploadLimits
from lightning_inr.demo.server import serving
from lightning_inr.retrieval.collection import Record, write_manifest
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.clip import load_clip
from lightning_inr.teachers.tiny.video_llm import write_small
from lightning_inr.types import VideoShape
from tests.conftest import moving_square, small_model, write_mp4, write_result, write_teacher

SHAPE = VideoShape(12, 48, 64, 25.0)
HOSTILE = '<img src="http://192.0.2.1/x.png" onerror="document.title=1"><b>bold</b>'  # an id and a caption
WITH_PROJECTOR, SEGMENTED, DAMAGED = 0, 2, 3  # the file with a projector; that of a long video; the damaged one
LIMITS = UploadLimits(megabytes=5, frames=40, pixels=640 * 480, seconds=2)
CHROMIUM = shutil.which("chromium")


def write_collection(folder: Path) -> Path:
    """Four aligned files: one has a projector and a source video, one a hostile id, one segments; one is damaged."""
    space = load_clip(None, str(write_teacher(folder / "clip")), "cpu").embedding_space
    llm = load_video_llm(str(write_small(folder / "tiny")), frames=3)
    collection = folder / "collection"
    collection.mkdir()
    source = write_mp4(collection / "source.mp4", moving_square(SHAPE.frames, SHAPE.height, SHAPE.width))
    records = []
    for number in range(4):
        torch.manual_seed(number)
        net = small_model(video=SHAPE)
        net.align(space)
        if number == WITH_PROJECTOR:
            net.attach_projector(llm.token_space(SHAPE))
            assert net.projector is not None
            with torch.no_grad():
                for parameter in net.projector.parameters():
                    parameter.copy_(torch.randn_like(parameter))
        data = Codec().encode(net)
        if number == SEGMENTED:
            half = small_model(video=SHAPE._replace(frames=SHAPE.frames // 2))
            half.align(space)
            data = b"".join(join_files(partial(repeat, Codec().encode(half), 2)))
        (collection / f"{number}.linr").write_bytes(data[:-9] if number == DAMAGED else data)
        records.append(
            record_of(number, len(data), str(source if number == WITH_PROJECTOR else folder / "elsewhere.mp4"))
        )
    write_manifest(collection, records)
    (collection / "config.yaml").write_text(
        yaml.safe_dump({"teacher": {"model": None, "weights": str(folder / "clip")}})
    )
    write_result(collection / "runs" / "one", video="<i>clip</i>")
    return collection


def record_of(number: int, size: int, source: str) -> Record:
    """The row of a file in the manifest."""
    return Record(
        HOSTILE if number == 1 else f"video{number}", f"{number}.linr", json.dumps({"path": source}), SHAPE.frames,
        SHAPE.height, SHAPE.width, SHAPE.fps, None, [HOSTILE, "a red square moves right"], [], "tiny", size, 0.5, 30.0,
        None, None, None, 1.0, 2.0, None,
    )  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection; read only."""
    return write_collection(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def library(made: Path) -> Library:
    """Its files."""
    return Library(made)


@pytest.fixture(scope="package")
def address(made: Path) -> Iterator[str]:
    """The page of the collection; plots of latents are flattened without UMAP, whose import takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "flatten_latents", lambda points: points[:, :2])
        with serving(made, "127.0.0.1", None, None, DemoOptions(device="cpu", uploads=LIMITS)) as url:
            yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, opened; at the end, every request went to the server, and no script failed."""
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    elsewhere: list[str] = []
    opened.on("request", lambda each: None if is_own(each.url, address) else elsewhere.append(each.url))
    opened.on("pageerror", lambda error: elsewhere.append(str(error)))
    opened.set_default_timeout(180_000)
    opened.goto(address)
    opened.wait_for_selector("linr-player[data-shown]")
    yield opened
    assert elsewhere == []
    assert opened.is_closed() or opened.title() == "lightning_inr"
    opened.close()


def messages(address: str, event: int, visitor: str, values: list[object]) -> Iterator[str]:
    """Start an event of the page as a browser does, and receive its messages."""
    body = json.dumps({"data": values, "fn_index": event, "session_hash": visitor}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{address}/gradio_api/queue/join", body, headers)).close()
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash={visitor}") as stream:
        for line in stream:
            yield line.decode()


def is_own(url: str, address: str) -> bool:
    """Whether a request goes to the server, or to no host."""
    return url.startswith((f"{address}/", "data:", "blob:"))
