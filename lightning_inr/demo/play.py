"""The tab Play: one file, decoded at the position, size and speed that the viewer chooses."""

import secrets
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from lightning_inr.demo.library import Library
from lightning_inr.errors import UserError, printable


class PlayTab(NamedTuple):
    """Components of the tab that others set."""

    player: gr.HTML
    facts: gr.HTML
    similar: gr.Button


def build_play(library: Library, key: str) -> PlayTab:
    """The tab, with the file of `key`; the facts are empty, as to count the cost of a frame takes long."""
    player = plain_html(player_html(library, key), elem_id="player")
    similar = gr.Button("More like this frame", visible=library.is_collection, size="sm", elem_id="similar")
    return PlayTab(player, plain_html(), similar)


def player_html(library: Library, key: str, position: float = 0.0) -> str:
    """The player of a file, at a frame position; the reason as text if the file cannot be decoded."""
    try:
        video = library.videos.get(key)
    except UserError as error:
        return error_html(error)
    frames, height, width, _ = video.shape
    values = {"file": key, "frames": frames, "fps": video.fps, "height": height, "width": width}
    values["opened"] = secrets.token_hex(4)
    values |= {"position": min(max(position, 0), frames - 1), "source": "1" if library.has_original(key) else ""}
    attributes = " ".join(f'data-{name}="{escape(str(value))}"' for name, value in values.items())
    return f"<linr-player {attributes}></linr-player>"


def facts_html(library: Library, key: str) -> str:
    """A table of the file's rate, and the bytes of each role."""
    try:
        info = library.videos.get(key).info
    except UserError:
        return ""  # the player shows the reason
    record = library.get(key).record
    video = info["video"]
    rows = {
        "model": info["model"],
        "video": f"{video['frames']} frames of {video['width']}x{video['height']} at {video['fps']:g} frames/s",
        "file": f"{info['bytes']:,} bytes, {info['bpp']:.4f} bits per pixel",
        **({} if record is None else {"PSNR": f"{record.psnr:.2f} dB"}),
        **({"captions": " · ".join(record.captions[:3])} if record is not None and record.captions else {}),
    }
    shares = {
        f"bytes of {role}": f"{each['bytes']:,} ({100 * each['bytes'] / info['bytes']:.1f} %)"
        for role, each in info["roles"].items()
    }
    lines = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(text))}</td></tr>" for name, text in (rows | shares).items()
    )
    return f'<table class="linr-facts">{lines}</table>'


def error_html(error: UserError) -> str:
    """The message of an error, as text."""
    return f'<p class="linr-error" role="alert">{escape(printable(str(error)))}</p>'


def plain_html(value: str = "", **options: Any) -> gr.HTML:
    """HTML in the styles of page.css alone."""
    return gr.HTML(value, apply_default_css=False, **options)
