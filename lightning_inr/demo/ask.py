"""The tab Ask: a conversation about the file in view, and the frames that its tokens stand for."""

import threading
from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from lightning_inr.chat.session import Session, check_question
from lightning_inr.demo.library import Library
from lightning_inr.demo.options import DemoOptions
from lightning_inr.demo.play import error_html, plain_html
from lightning_inr.errors import UserError
from lightning_inr.paths import existing
from lightning_inr.pipelines.chat_backend import UNTRAINED, BackendOptions, ChatBackend, FileTokens, find_backend
from lightning_inr.teachers.catalogue import load_video_llm
from lightning_inr.teachers.video_llm.interface import VideoLLM

LONGEST_ANSWER = 128  # tokens
THUMBNAIL = 90  # height in pixels at most
History = list[dict[str, Any]]


class Conversation(NamedTuple):
    """The questions of one visitor about one file."""

    key: str
    session: Session
    frames: str  # HTML of the frames that its tokens stand for


class ChatModel:
    """The video language model, which the first question loads; UserError if the given projector is missing."""

    def __init__(self, library: Library, options: DemoOptions) -> None:
        self.library = library
        name, device = options.video_llm, options.device

        def load(load_vision: bool) -> VideoLLM:
            return load_video_llm(str(name), load_vision=load_vision, device=device)

        projector = None if options.projector is None else str(existing(options.projector, "projector"))
        self.options = BackendOptions(projector, None if name is None else load, device=device)
        self._backend: ChatBackend | None = None
        self._lock = threading.Lock()

    def start(self, key: str) -> Conversation:
        """A conversation about a file; UserError, with the remedy, if it has no projector."""
        path = self.library.get(key).path
        with self._lock:
            if self._backend is None:
                self._backend = find_backend(self.options, [path], load_vision=False)
            tokens = self._backend.read(path)
        llm = self._backend.llm
        note = f'<p class="linr-note">{escape(UNTRAINED)}</p>' if llm.untrained else ""
        session = Session(llm, tokens.token_space, tokens.tokens, LONGEST_ANSWER)
        return Conversation(key, session, note + self._frames_html(key, tokens))

    def _frames_html(self, key: str, tokens: FileTokens) -> str:
        numbers, video = tokens.frame_numbers, tokens.video
        height = min(THUMBNAIL, video.height)
        pictures = "".join(
            f'<figure><img src="/linr/frame?file={key}&amp;position={number}&amp;height={height}" alt="frame {number}">'
            f"<figcaption>{number / video.fps:.2f} s</figcaption></figure>"
            for number in numbers
        )
        title = f"{len(tokens.tokens)} tokens stand for {len(numbers)} of {video.frames} frames"
        return f'<p class="linr-note">{title}</p><div class="linr-tokens">{pictures}</div>'


def build_ask(file: gr.Dropdown, chat: ChatModel) -> None:
    """The tab, with its conversation."""
    conversation = gr.State(None)
    with gr.Row():
        with gr.Column(scale=3):
            talk = gr.Chatbot(label="Conversation", render_markdown=False, height=380, elem_id="talk", buttons=[])
            problem = plain_html(elem_id="ask-problem")
            with gr.Row(equal_height=True):
                question = gr.Textbox(
                    label="Question", placeholder="What happens?", scale=4, elem_id="question", max_length=2000
                )
                button = gr.Button("Ask", variant="primary", scale=1, min_width=100)
        frames = plain_html(elem_id="tokens", min_height=200)

    def ask(text: str, key: str, history: History, earlier: Conversation | None) -> Iterator[tuple[Any, ...]]:
        yield from answer(chat, text, key, history, earlier)

    gr.on(
        [question.submit, button.click], ask, [question, file, talk, conversation],
        [question, talk, conversation, frames, problem], concurrency_limit=1, concurrency_id="ask",
        api_visibility="private",
    )  # fmt: skip


def answer(
    chat: ChatModel, question: str, key: str, history: History, conversation: Conversation | None
) -> Iterator[tuple[Any, ...]]:
    """The conversation as the answer grows; for another file than before, it starts anew."""
    try:
        check_question(question)
        if conversation is None or conversation.key != key:
            conversation, history = chat.start(key), []
        pieces = conversation.session.ask(question)
    except UserError as error:
        yield gr.skip(), gr.skip(), gr.skip(), gr.skip(), error_html(error)
        return
    # Gradio renders the tags of a message: escaped, they are shown.
    history = [*history, {"role": "user", "content": escape(question)}]
    text = ""
    yield "", history, conversation, conversation.frames, ""
    for piece in pieces:
        text += piece
        yield gr.skip(), [*history, {"role": "assistant", "content": escape(text)}], conversation, gr.skip(), gr.skip()
