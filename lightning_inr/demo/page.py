"""The page: a list of the files, and a tab for each thing to do with them."""

from typing import Any, NamedTuple

import gradio as gr

from lightning_inr.demo.ask import ChatModel, build_ask
from lightning_inr.demo.compare import build_compare, find_points
from lightning_inr.demo.encode import Encoded, Encoder, EncodeTab, build_encode
from lightning_inr.demo.latents import LatentPlots, build_latents
from lightning_inr.demo.library import Library
from lightning_inr.demo.options import DemoOptions
from lightning_inr.demo.play import PlayTab, build_play, facts_html, player_html
from lightning_inr.demo.search import AT_ONCE, POSITION_IN_VIEW, CollectionSearch, SearchTab, build_search, found
from lightning_inr.errors import UserError

TABS = ("play", "encode", "search", "ask", "compare", "latents")
WAITING = 64  # events of all visitors that may wait; a further one is refused


class View(NamedTuple):
    """The file in view, and where it is shown."""

    library: Library
    file: gr.Dropdown
    tabs: gr.Tabs
    play: PlayTab

    @property
    def outputs(self) -> list[Any]:
        """The components that `shown_at` sets."""
        return [self.file, self.tabs, self.play.player, self.play.facts]

    def shown_at(self, key: str, position: float, file: Any = None) -> list[Any]:
        """Values of `outputs` that open a file at a position, in the tab Play."""
        player, facts = player_html(self.library, key, position), facts_html(self.library, key)
        return [file or gr.Dropdown(value=key), gr.Tabs(selected="play"), player, facts]


def build_page(library: Library, encoder: Encoder, options: DemoOptions, tab: str | None = None) -> gr.Blocks:
    """The page over these files; `tab` is open first. UserError if there is no such tab."""
    if tab is not None and tab not in TABS:
        raise UserError(f"tab={tab}: choose one of {', '.join(TABS)}")
    choices = [(shown.name, key) for key, shown in library.files.items()]
    first, runs = choices[0][1], find_points(library)
    with gr.Blocks(title="lightning_inr", analytics_enabled=False) as page:
        file = gr.Dropdown(choices, value=first, label="File", filterable=True, elem_id="file")
        with gr.Tabs(selected=tab or "play") as tabs:
            with gr.Tab("Play", id="play"):
                play = build_play(library, first)
            with gr.Tab("Encode", id="encode"):
                encode = build_encode(page, encoder)
            with gr.Tab("Search", id="search", visible=library.is_collection) as search_tab:
                service = CollectionSearch(library, options.device)
                search = build_search(service)
            with gr.Tab("Ask", id="ask"):
                build_ask(file, ChatModel(library, options))
            with gr.Tab("Compare", id="compare", visible=bool(runs)):
                if runs:
                    build_compare(runs)
            with gr.Tab("Latents", id="latents"):
                build_latents(file, LatentPlots(library))
        view = View(library, file, tabs, play)
        _connect_player(view, encode)
        page.load(lambda: facts_html(library, first), None, [play.facts], api_visibility="private")
        _connect_search(view, search, service)
        # What a search needs is loaded while the visitor writes the words.
        opened = [search_tab.select, page.load] if tab == "search" else [search_tab.select]
        gr.on(opened, service.prepare, None, None, queue=False, api_visibility="private")
    page.queue(max_size=WAITING)
    return page


def _connect_player(view: View, encode: EncodeTab) -> None:
    """Show the file that is chosen, and the one that was encoded."""

    def choose(key: str) -> list[Any]:
        return [player_html(view.library, key), facts_html(view.library, key)]

    def play_encoded(encoded: Encoded, choices: list[tuple[str, str]]) -> list[Any]:
        choices = [*choices, (encoded.name, encoded.key)]
        return [*view.shown_at(encoded.key, 0, gr.Dropdown(choices, value=encoded.key)), choices]

    known = gr.State([(shown.name, key) for key, shown in view.library.files.items()])
    view.file.input(choose, [view.file], [view.play.player, view.play.facts], api_visibility="private")
    encode.play.click(play_encoded, [encode.finished, known], [*view.outputs, known], api_visibility="private")


def _connect_search(view: View, search: SearchTab, service: CollectionSearch) -> None:
    """Open a hit at its frame, and search for more like the frame in view."""

    def open_hit(event: gr.EventData) -> list[Any]:
        try:
            return view.shown_at(str(event.file), float(event.position))
        except (AttributeError, ValueError):  # not a click of this page
            return [gr.skip()] * len(view.outputs)

    def more(key: str, k: float, position: float) -> list[Any]:
        try:
            path = str(view.library.get(key).path)
        except UserError:
            path = ""
        return [gr.Tabs(selected="search"), found(service, int(k), file=path, frame=round(float(position)))]

    position = gr.Number(0, visible=False)
    search.hits.click(open_hit, None, view.outputs, api_visibility="private")
    view.play.similar.click(
        more, [view.file, search.most, position], [view.tabs, search.hits], js=POSITION_IN_VIEW,
        concurrency_limit=AT_ONCE, concurrency_id="search", api_visibility="private",
    )  # fmt: skip
