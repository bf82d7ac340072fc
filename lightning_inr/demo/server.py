"""The server of the page, on this machine alone unless another address is given."""

import logging
import os
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI

from lightning_inr.demo.encode import Encoder
from lightning_inr.demo.first_picture import FirstPicture
from lightning_inr.demo.frames import frame_routes
from lightning_inr.demo.guard import LOOPBACK, RequestGuard
from lightning_inr.demo.library import Library
from lightning_inr.demo.options import DemoOptions
from lightning_inr.demo.page import build_page
from lightning_inr.errors import UserError

FIRST_PORT, PORTS = 7860, 100  # searched if no port is given
SHUTDOWN_SECONDS = 1  # for requests that are still answered
ASSETS = Path(__file__).parent
FONTS = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "sans-serif")]
MONOSPACED = [gr.themes.Font(name) for name in ("ui-monospace", "monospace")]


def serve_until_stopped(
    path: Path, host: str, port: int | None, open_browser: bool, tab: str | None, options: DemoOptions | None
) -> None:
    """What `launch` does."""
    with serving(path, host, port, tab, options or DemoOptions()) as url:
        print(f"{path}: {url} (Ctrl-C ends it)", flush=True)
        if open_browser and not webbrowser.open(url):
            print("no browser found: open that address in one", flush=True)
        while True:
            time.sleep(3600)


@contextmanager
def serving(path: Path, host: str, port: int | None, tab: str | None, options: DemoOptions) -> Iterator[str]:
    """Serve the page inside the context; yields its address."""
    library = Library(path, options.source, options.device)
    with bound_socket(host, port) as listener, tempfile.TemporaryDirectory(prefix="linr-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        encoder = Encoder(library, options.uploads)
        app = build_app(library, encoder, build_page(library, encoder, options, tab), host)
        if tab in (None, "play"):
            app.add_middleware(FirstPicture, key=next(iter(library.files)))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            encoder.close()
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # or each open page leaves a traceback
            server.should_exit = True
            thread.join()


def build_app(library: Library, encoder: Encoder, page: gr.Blocks, host: str) -> FastAPI:
    """The requests of the player, and the page, behind a check of where a request comes from."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(frame_routes(library))
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        max_file_size=f"{encoder.limits.megabytes}mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=FONTS, font_mono=MONOSPACED),
        # In `css`, Gradio would restrict every rule to the parts inside the page.
        head=f"<style>{(ASSETS / 'page.css').read_text()}</style><script>{(ASSETS / 'player.js').read_text()}</script>",
    )
    app.add_middleware(RequestGuard, hosts=LOOPBACK if host in LOOPBACK else None)
    return app


@contextmanager
def bound_socket(host: str, port: int | None) -> Iterator[socket.socket]:
    """A socket bound to `port`, or to the first free one; UserError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only for a socket that names TCP, asyncio sets TCP_NODELAY; without it, an answer may wait 40 ms for an ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for number in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
            try:
                listener.bind((host, number))
                break
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
        else:
            named = f"port={port}" if port is not None else f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
            raise UserError(f"{named} of {host}: {reason}; choose another with port=…, or leave it out for a free one")
        yield listener
