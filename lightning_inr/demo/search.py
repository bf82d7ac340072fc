"""The tab Search: frames of a collection nearest to words, an image, or the frame in view."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from lightning_inr.demo.library import Library
from lightning_inr.demo.play import error_html, plain_html
from lightning_inr.errors import UserError
from lightning_inr.pipelines.search import Query, clip_of_collection, query_vector
from lightning_inr.retrieval.query import Hit, OpenCollection, frame_scores, open_collection, search_collection
from lightning_inr.teachers.clip import Clip

HITS = 8  # shown at first
MOST_HITS = 48
AT_ONCE = 2  # searches; others wait in the queue
THUMBNAIL = 120  # height in pixels at most
MOST_TIMELINE_POINTS = 200
# A click on a hit gives its frame, a click on its timeline the frame there.
ON_HIT = """
element.addEventListener('click', (event) => {
  const hit = event.target.closest('[data-file]');
  if (!hit) return;
  let position = Number(hit.dataset.position);
  const line = event.target.closest('svg');
  if (line) {
    const box = line.getBoundingClientRect();
    position = (event.clientX - box.left) / box.width * Number(hit.dataset.last);
  }
  trigger('click', {file: hit.dataset.file, position: position});
});
"""
POSITION_IN_VIEW = "(key, k, position) => [key, k, document.querySelector('linr-player')?.position ?? 0]"


class SearchTab(NamedTuple):
    """Components of the tab that others use."""

    hits: gr.HTML
    most: gr.Slider


class CollectionSearch:
    """Searches of one collection; its index and its teacher are loaded once."""

    def __init__(self, library: Library, device: str) -> None:
        self.library, self.device = library, device
        self._lock = threading.Lock()
        self._collection: OpenCollection | None = None
        self._clip: Clip | None = None
        self._keys = {shown.record.id: key for key, shown in library.files.items() if shown.record is not None}

    def prepare(self) -> None:
        """Load what a search by words needs; a search reports what is missing."""
        with suppress(UserError):
            self._opened()
            self._teacher(self.library.path)

    def find(self, query: Query, k: int) -> str:
        """The `k` best frames, one of each video, as HTML; UserError with what to do if nothing can be searched."""
        collection = self._opened()
        vector = query_vector(query, collection, self._teacher)
        hits = [hit for hit in search_collection(collection, vector, k) if hit.record.id in self._keys]
        if not hits:
            return '<p class="linr-note">nothing found</p>'
        scores = [frame_scores(collection, hit.record, vector) for hit in hits]
        left_out = len(collection.left_out)
        note = f'<p class="linr-note">{left_out} of the videos cannot be searched</p>' if left_out else ""
        return f'<div class="linr-hits">{"".join(map(self._hit_html, hits, scores))}</div>{note}'

    def _opened(self) -> OpenCollection:
        with self._lock:
            if self._collection is None:
                self._collection = open_collection(self.library.path)
            return self._collection

    def _teacher(self, folder: str | Path) -> Clip:
        with self._lock:
            if self._clip is None:
                self._clip = clip_of_collection(folder, self.device)
            return self._clip

    def _hit_html(self, hit: Hit, scores: NDArray[np.float32]) -> str:
        key, record = self._keys[hit.record.id], hit.record
        height, last = min(THUMBNAIL, record.height), record.frames - 1
        name = f"{escape(record.id)}, {hit.seconds:.2f} s"
        return (
            f'<button type="button" class="linr-hit" data-file="{key}" data-position="{hit.frame}" data-last="{last}">'
            f'<img src="/linr/frame?file={key}&amp;position={hit.frame}&amp;height={height}" alt="decoded frame">'
            f"{sparkline(scores, hit.frame)}<span>{name}<br>score {hit.score:.3f}</span></button>"
        )


def sparkline(scores: Sequence[float] | NDArray[np.float32], marked: int) -> str:
    """The scores over time as an SVG line, from their lowest to their highest, with a mark at one frame."""
    if len(scores) < 2:
        return ""
    chosen = np.unique(np.linspace(0, len(scores) - 1, MOST_TIMELINE_POINTS).round().astype(int))
    values = np.asarray(scores)[chosen]
    heights = 28 - 26 * (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    points = " ".join(f"{100 * at / (len(scores) - 1):.1f},{y:.1f}" for at, y in zip(chosen, heights, strict=True))
    place = 100 * marked / (len(scores) - 1)
    return (
        '<svg viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">'
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="30"/><polyline points="{points}"/></svg>'
    )


def build_search(service: CollectionSearch) -> SearchTab:
    """The tab, with its searches by words and by image."""
    with gr.Row(equal_height=True):
        words = gr.Textbox(label="Words", placeholder="a red ball rolls left", scale=4, elem_id="words", max_length=500)
        button = gr.Button("Search", variant="primary", scale=1, min_width=100)
        image = gr.UploadButton("Search by an image", file_types=["image"], scale=1, min_width=100)
    count = gr.Slider(1, MOST_HITS, HITS, step=1, label="Videos shown")
    hits = plain_html(js_on_load=ON_HIT, elem_id="hits")
    shared: dict[str, Any] = {"concurrency_limit": AT_ONCE, "concurrency_id": "search", "api_visibility": "private"}
    gr.on([words.submit, button.click], lambda text, k: found(service, k, text=text), [words, count], [hits], **shared)
    image.upload(lambda path, k: found(service, k, image=path), [image, count], [hits], **shared)
    return SearchTab(hits, count)


def found(service: CollectionSearch, k: int, **query: Any) -> str:
    """The hits as HTML, or in one line why there are none."""
    try:
        return service.find(Query(**query), int(k))
    except UserError as error:
        return error_html(error)
