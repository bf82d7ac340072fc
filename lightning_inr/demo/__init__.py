"""The page in the browser: play, encode, search, ask, compare, and plots of the latents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_inr.demo.options import DemoOptions

# Read by Gradio and huggingface_hub when they are imported: neither may contact another host. HF_HUB_OFFLINE=0 in the
# environment allows the weights of a teacher to be downloaded.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def launch(
    path: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    tab: str | None = None,
    options: DemoOptions | None = None,
) -> None:
    """Serve the page over `path`, a `.linr` file or a folder, until Ctrl-C.

    `port` None takes the first free one from 7860 on; `tab` is the one that is open first. UserError for a path
    without files, an unknown tab, and a port or host that cannot be used.
    """
    from lightning_inr.demo.server import serve_until_stopped  # here: a fit of the page imports this module alone

    serve_until_stopped(path, host, port, open_browser, tab, options)
