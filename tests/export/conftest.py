"""Small files of every model, the system's browser, and onnxruntime-web."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, sync_playwright

from lightning_inr.codec import Codec
from lightning_inr.errors import UserError
from lightning_inr.export.runtime import WebRuntime, web_runtime
from lightning_inr.models import base as base_of_models
from lightning_inr.models import build
from lightning_inr.types import VideoShape
from tests.conftest import SMALL, small_model

POSITIONS = (0.0, 1.0, 1.3, 2.5, 3.0, 4.0)  # of 5 frames


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are compared with those that any processor decodes; bfloat16 differs by more than a 255th."""
    monkeypatch.setattr(base_of_models, "fast_bfloat16", lambda device: False)


def write_small(path: Path, name: str, codec: Codec | None = None, **changes: Any) -> Path:
    """A `.linr` file of the small model `name`, its options changed: 5 frames of 22x30."""
    model = small_model(name)
    if changes:
        model = build(name, VideoShape(5, 22, 30, 25.0), **SMALL[name] | changes)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.decoder_only()
    path.write_bytes((codec or Codec()).encode(model))
    return path


@pytest.fixture(scope="module")  # two at a time do not run in one thread
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def runtime() -> WebRuntime:
    """onnxruntime-web, from the cache folder or the registry."""
    try:
        return web_runtime()
    except UserError as error:
        pytest.skip(str(error))
