"""The tab Encode: a video becomes a `.linr` file, one after the other."""

import base64
import shutil
import tempfile
import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go

from lightning_inr.demo.fitting import UPDATE_SECONDS, FitProcess, FitProgress, FitRequest
from lightning_inr.demo.library import Library
from lightning_inr.demo.options import UploadLimits
from lightning_inr.demo.play import error_html, plain_html
from lightning_inr.demo.points import plain_figure
from lightning_inr.demo.upload import UploadedVideo, check_upload
from lightning_inr.errors import UserError

EFFORTS = ("fast", "medium", "slow")
HEIGHTS = (90, 120, 180, 240, 360, 540, 720)
LEAST_BPP, MOST_BPP = 0.01, 4.0
CANCELLED = "cancelled; nothing is kept"


class Encoded(NamedTuple):
    """A finished file: its key, its name, and its figures as HTML."""

    key: str
    name: str
    html: str


class Waiting(NamedTuple):
    """A video that waits for its turn."""

    before: int  # videos that are encoded first


class Place:
    """A visitor's place in the queue, from the request to the end of its fit."""

    def __init__(self, visitor: str) -> None:
        self.visitor = visitor
        self.cancelled = threading.Event()
        self.process: FitProcess | None = None


class Encoder:
    """The fits that visitors start, one at a time; `stop` ends a visitor's, `close` ends all."""

    def __init__(self, library: Library, limits: UploadLimits) -> None:
        self.library, self.limits = library, limits
        self._results = tempfile.TemporaryDirectory(prefix="linr-encoded-")
        self._queue: list[Place] = []  # the first one's fit runs
        self._kept: list[str] = []
        self._lock = threading.Lock()

    def encode(self, visitor: str, path: str | None, request: FitRequest) -> Iterator[Waiting | FitProgress | Encoded]:
        """Fit the uploaded video when its turn comes; yields its progress, and last the file.

        UserError for anything that fails, and if the visitor cancels.
        """
        check_request(request)
        video = check_upload(None if path is None else Path(path), self.limits)
        place = self._enter(visitor)
        try:
            yield from self._turn(place)
            process = self._start(place, video, request)
            yield from process.progress()
            file, figures = process.result()
            yield self._keep(file, Path(video.name).stem, figures)
        except UserError as error:
            if place.cancelled.is_set():  # the fit that ended early is no error
                raise UserError(CANCELLED) from error
            raise
        finally:
            self._leave(place)

    def stop(self, visitor: str | None) -> None:
        """Cancel the fits of a visitor, whether they run or wait."""
        with self._lock:
            for place in self._queue:
                if place.visitor == visitor:
                    place.cancelled.set()
                    if place.process is not None:
                        place.process.kill()

    def close(self) -> None:
        """End every fit, and remove the encoded files."""
        with self._lock:
            queue, self._queue = self._queue, []
        for place in queue:
            place.cancelled.set()
            if place.process is not None:
                place.process.close()
        self._results.cleanup()

    def _enter(self, visitor: str) -> Place:
        with self._lock:
            if len(self._queue) >= self.limits.waiting:
                raise UserError(f"{len(self._queue)} videos wait already; try again later")
            place = Place(visitor)
            self._queue.append(place)
        return place

    def _turn(self, place: Place) -> Iterator[Waiting]:
        """Wait until the place is the first one."""
        while before := self._before(place):
            yield Waiting(before)
            place.cancelled.wait(UPDATE_SECONDS)
            if place.cancelled.is_set():
                raise UserError(CANCELLED)

    def _before(self, place: Place) -> int:
        with self._lock:
            return self._queue.index(place) if place in self._queue else 0

    def _start(self, place: Place, video: UploadedVideo, request: FitRequest) -> FitProcess:
        with self._lock:
            if place.cancelled.is_set():
                raise UserError(CANCELLED)
            place.process = FitProcess(video, request, self.limits)
        return place.process

    def _leave(self, place: Place) -> None:
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
        if place.process is not None:
            place.process.close()

    def _keep(self, file: Path, stem: str, figures: dict[str, Any]) -> Encoded:
        name = f"{stem}.linr"
        with tempfile.NamedTemporaryFile(dir=self._results.name, suffix=".linr", delete=False) as kept:
            shutil.copyfile(file, kept.name)
        key = self.library.add(name, Path(kept.name))
        with self._lock:
            self._kept.append(key)
            oldest = self._kept.pop(0) if len(self._kept) > self.limits.kept else None
        if oldest is not None:
            self.library.remove(oldest)
        text = f"{figures['psnr']:.2f} dB at {figures['bpp']:.4f} bits per pixel, {figures['bytes']:,} bytes"
        link = f'<a href="/linr/file.linr?file={key}" download>Download {escape(name)}</a>'
        return Encoded(key, name, f'<div class="linr-row" role="status"><span>{text}</span>{link}</div>')


def check_request(request: FitRequest) -> None:
    """UserError for a value that the controls do not offer: a request may hold any."""
    if not LEAST_BPP <= request.bpp <= MOST_BPP:
        raise UserError(f"bpp={request.bpp}: choose {LEAST_BPP} to {MOST_BPP} bits per pixel")
    if request.effort not in EFFORTS or request.height not in HEIGHTS:
        raise UserError(f"effort={request.effort} height={request.height}: choose values of the lists")


class EncodeTab(NamedTuple):
    """Components of the tab, and the event after which a file is finished."""

    finished: gr.State  # Encoded, or None
    play: gr.Button


def build_encode(page: gr.Blocks, encoder: Encoder) -> EncodeTab:
    """The tab; every change of its status comes from the one event that encodes."""
    limits, finished = encoder.limits, gr.State(None)
    plain_html(
        f'<p class="linr-note">At most {limits.megabytes} MB, {limits.frames} frames, {limits.pixels} pixels a frame, '
        f"{limits.seconds:g} s of fitting. Closing this page stops the fit.</p>"
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            video = gr.File(label="Video", file_types=["video"], height=140, elem_id="upload")
            bpp = gr.Number(
                0.25, label="Rate, bits per pixel", minimum=LEAST_BPP, maximum=MOST_BPP, step=0.01, elem_id="bpp"
            )
            effort = gr.Radio(list(EFFORTS), value="fast", label="Effort")
            height = gr.Dropdown(list(HEIGHTS), value=180, label="Height at most, pixels")
            with gr.Row():
                start = gr.Button("Encode", variant="primary", min_width=90)
                cancel = gr.Button("Cancel", min_width=90)
                play = gr.Button("Play it", interactive=False, min_width=90)
        with gr.Column(scale=2, min_width=280):
            status, picture = plain_html(elem_id="encode-status"), plain_html(elem_id="encode-picture")
            plot = gr.Plot(elem_id="encode-plot", show_label=False)

    def run_encode(path: str | None, rate: float, chosen: str, rows: int, request: gr.Request) -> Iterator[list[Any]]:
        yield from shown(encoder, str(request.session_hash), path, FitRequest(rate, chosen, rows))

    def stop(request: gr.Request) -> None:
        encoder.stop(request.session_hash)

    outputs = [status, picture, plot, finished, play]
    start.click(  # the encoder has a queue of its own: one of Gradio's cannot be left without a race
        run_encode, [video, bpp, effort, height], outputs, concurrency_limit=None,
        show_progress="minimal", show_progress_on=[status], api_visibility="private",
    )  # fmt: skip
    cancel.click(stop, None, None, queue=False, api_visibility="private")
    page.unload(stop)
    return EncodeTab(finished, play)


def shown(encoder: Encoder, visitor: str, path: str | None, request: FitRequest) -> Iterator[list[Any]]:
    """Values of status, picture, plot, finished file and play button while a video is encoded."""
    waiting = gr.Button(interactive=False)
    yield [note_html("starting"), "", None, None, waiting]
    try:
        for state in encoder.encode(visitor, path, request):
            if isinstance(state, Encoded):
                yield [state.html, gr.skip(), gr.skip(), state, gr.Button(interactive=True)]
            elif isinstance(state, Waiting):
                yield [note_html(f"waiting: {state.before} before this one"), *[gr.skip()] * 4]
            else:
                yield [status_html(state), picture_html(state.picture), curve_figure(state.curve), gr.skip(), gr.skip()]
    except UserError as error:
        yield [error_html(error), "", None, None, waiting]


def status_html(state: FitProgress) -> str:
    """The stage, and the figures of the fit, in one line."""
    share = "" if state.share is None else f" {100 * min(state.share, 1):.0f} %"
    names = {"psnr": "PSNR {:.2f} dB", "bpp": "{:.3f} bits per pixel", "seconds_left": "{:.0f} s left"}
    parts = [text.format(state.figures[name]) for name, text in names.items() if name in state.figures]
    return note_html(", ".join([state.stage + share, *parts]))


def note_html(text: str) -> str:
    """A line that screen readers announce."""
    return f'<p class="linr-note" role="status">{escape(text)}</p>'


def picture_html(picture: bytes | None) -> str:
    """The middle frame as it is now."""
    if picture is None:
        return ""
    source = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    return f'<img class="linr-picture" src="{source}" alt="middle frame">'


def curve_figure(curve: list[tuple[float, float]]) -> go.Figure | None:
    """PSNR over time."""
    if not curve:
        return None
    figure = plain_figure("seconds", "PSNR (dB)").update_layout(height=260)
    return figure.add_scatter(x=[at for at, _ in curve], y=[psnr for _, psnr in curve], mode="lines", showlegend=False)
