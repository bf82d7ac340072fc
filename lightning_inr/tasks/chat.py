"""Questions about the video of a `.linr` file, answered from its latents; no pixel is decoded."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

from lightning_inr.chat.session import Session, check_question
from lightning_inr.configuration.queries import chat_backend_options, questions_of
from lightning_inr.errors import UserError
from lightning_inr.pipelines.chat_backend import UNTRAINED, ChatBackend, FileTokens, check_sampling, find_backend
from lightning_inr.pipelines.chat_collection import CollectionChatOptions, answer_collection, choose_questions
from lightning_inr.ranges import located

EXIT, FORGET = "exit", "forget"  # inputs that end the conversation, and that clear its history
PROMPT = "> "


def run(cfg: DictConfig) -> None:
    """Answer `question`, or hold a conversation on stdin; with `collection`, write every file's answers to `out`."""
    if (cfg.bitstream is None) == (cfg.collection is None):
        raise UserError("bitstream and collection: give one of bitstream=video.linr and collection=FOLDER")
    backend_options, sampling = chat_backend_options(cfg), check_sampling(cfg.max_new_tokens, cfg.temperature)
    if cfg.collection is not None:
        question = None if cfg.question is None else str(cfg.question)
        folder = located(cfg.collection)
        questions = choose_questions(folder, question, questions_of(cfg))
        options = CollectionChatOptions(backend_options, cfg.max_new_tokens, cfg.temperature, cfg.seed)
        answer_collection(folder, Path(cfg.out).expanduser(), questions, options)
        return
    if cfg.questions is not None:
        raise UserError("questions: they are for a collection=FOLDER; ask a file with question=…")
    if cfg.question is not None:
        check_question(str(cfg.question))  # before anything large is loaded
    path = located(cfg.bitstream)
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
    """One line: the file, its sampled frames and their times, the language model and the number of tokens."""
    video, numbers = file_tokens.video, file_tokens.frame_numbers
    times = ", ".join(f"{number / video.fps:.2f}" for number in numbers)
    return (
        f"{file_tokens.path}: {len(numbers)} of {video.frames} frames, at {times} s, "
        f"given to {backend.llm.name} as {len(file_tokens.tokens)} tokens; no pixel decoded"
    )


def print_answer(session: Session, question: str) -> None:
    """Print the answer piece by piece; Ctrl-C stops it and is raised again, and the pieces so far are kept."""
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
    """Answer questions from stdin until its end or `exit`; Ctrl-C ends an answer, or at the prompt the conversation."""
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
