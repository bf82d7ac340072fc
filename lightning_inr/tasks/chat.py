"""Ask a `.linr` file about its video: latents are what the model reads, and no pixel is decoded."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

from lightning_inr.chat.session import Session, check_question
from lightning_inr.errors import UserError
from lightning_inr.tasks.chat_collection import answer_collection
from lightning_inr.tasks.talking import UNTRAINED, ChatBackend, FileTokens, check_answering, find_backend, sampling

EXIT, FORGET = "exit", "forget"  # what is typed to end, and to begin anew
PROMPT = "> "


def run(cfg: DictConfig) -> None:
    """Answer `question`, or hold a conversation on stdin; with `collection`, write every file's answers to `out`."""
    if (cfg.bitstream is None) == (cfg.collection is None):
        raise UserError("bitstream and collection: give one of bitstream=video.linr and collection=FOLDER")
    check_answering(cfg)
    if cfg.collection is not None:
        answer_collection(cfg)
        return
    if cfg.questions is not None:
        raise UserError("questions: they are for a collection=FOLDER; ask a file with question=…")
    if cfg.question is not None:
        check_question(str(cfg.question))  # before anything large is loaded
    path = Path(cfg.bitstream)
    backend = find_backend(cfg, [path], load_vision=False)
    file_tokens = backend.read(path)
    print(introduction(file_tokens, backend), flush=True)
    if backend.llm.untrained:
        print(UNTRAINED, flush=True)
    session = Session(backend.llm, file_tokens.token_space, file_tokens.tokens, cfg.max_new_tokens, **sampling(cfg))
    if cfg.question is not None:
        answer(session, str(cfg.question))
    else:
        converse(session)


def introduction(file_tokens: FileTokens, backend: ChatBackend) -> str:
    """One line: the file, which frames of it are shown and when, to whom, as how many tokens."""
    video, shown = file_tokens.video, file_tokens.shown
    times = ", ".join(f"{number / video.fps:.2f}" for number in shown)
    return (
        f"{file_tokens.path}: {len(shown)} of {video.frames} frames, at {times} s, "
        f"shown to {backend.llm.name} as {len(file_tokens.tokens)} tokens; no pixel decoded"
    )


def answer(session: Session, question: str) -> None:
    """Print the answer as it comes; Ctrl-C ends it and is passed on, and the session has what was said."""
    dropped = session.dropped
    with closing(session.ask(question)) as pieces:
        if session.dropped > dropped:
            print(f"(the model's context is full: it no longer sees {session.dropped} earlier exchanges)")
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
        finally:
            print(flush=True)


def converse(session: Session) -> None:
    """Questions from stdin until it ends, or `exit`. Ctrl-C in an answer ends that, at the prompt the conversation."""
    for question in _questions():
        try:
            if question == FORGET:
                session.forget()
            else:
                answer(session, question)
        except UserError as error:
            print(error)
        except KeyboardInterrupt:
            continue


def _questions() -> Iterator[str]:
    while True:
        try:
            question = input(PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if question == EXIT:
            return
        if question:
            yield question
