"""Ask a `.linr` file about its video: latents are what the model reads, and no pixel is decoded."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

from lightning_inr.chat.session import Session, check_question
from lightning_inr.configuration import chat_backend_options, questions_of
from lightning_inr.errors import UserError
from lightning_inr.pipelines.chat_backend import UNTRAINED, ChatBackend, FileTokens, check_sampling, find_backend
from lightning_inr.pipelines.chat_collection import Asking, answer_collection, choose_questions

EXIT, FORGET = "exit", "forget"  # what is typed to end, and to begin anew
PROMPT = "> "


def run(cfg: DictConfig) -> None:
    """Answer `question`, or hold a conversation on stdin; with `collection`, write every file's answers to `out`."""
    if (cfg.bitstream is None) == (cfg.collection is None):
        raise UserError("bitstream and collection: give one of bitstream=video.linr and collection=FOLDER")
    backend_options, sampling = chat_backend_options(cfg), check_sampling(cfg.max_new_tokens, cfg.temperature)
    if cfg.collection is not None:
        question = None if cfg.question is None else str(cfg.question)
        asked = choose_questions(Path(cfg.collection), question, questions_of(cfg))
        asking = Asking(backend_options, cfg.max_new_tokens, cfg.temperature, cfg.seed)
        answer_collection(Path(cfg.collection), Path(cfg.out).expanduser(), asked, asking)
        return
    if cfg.questions is not None:
        raise UserError("questions: they are for a collection=FOLDER; ask a file with question=…")
    if cfg.question is not None:
        check_question(str(cfg.question))  # before anything large is loaded
    path = Path(cfg.bitstream)
    backend = find_backend(backend_options, [path], load_vision=False)
    file_tokens = backend.read(path)
    print(introduction(file_tokens, backend), flush=True)
    if backend.llm.untrained:
        print(UNTRAINED, flush=True)
    session = Session(backend.llm, file_tokens.token_space, file_tokens.tokens, cfg.max_new_tokens, **sampling)
    if cfg.question is not None:
        print_answer(session, str(cfg.question))
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


def print_answer(session: Session, question: str) -> None:
    """Print the answer as it comes; Ctrl-C ends it and is passed on, and the session keeps the pieces so far."""
    dropped = session.dropped
    with closing(session.ask(question)) as pieces:
        if session.dropped > dropped:
            print(f"(the model's context is full: {session.dropped} earlier exchanges are left out)")
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
                print_answer(session, question)
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
