"""Streams a generated answer: transformers generates in a separate thread, which stops when the iterator is closed."""

import threading
from collections.abc import Callable, Generator
from queue import Empty
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

POLL_SECONDS = 1.0  # seconds without text after which the iterator checks that the thread is alive


class _StopOnEvent(StoppingCriteria):
    """Stops the generation once `event` is set, which happens when the iterator is closed."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((len(input_ids),), self.event.is_set(), device=input_ids.device)


def stream(generate: Callable[..., Any], tokenizer: Any) -> Generator[str, None, None]:
    """Yield the text that `generate(streamer=…, stopping_criteria=…)` generates; its errors are raised here.

    The first ids that it puts into the streamer are those of the prompt, and are skipped. Closing the iterator ends the
    thread after the present token.
    """
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=POLL_SECONDS, skip_special_tokens=True)
    stopped, failures = _StopOnEvent(), []

    def work() -> None:
        try:
            generate(streamer=streamer, stopping_criteria=StoppingCriteriaList([stopped]))
        except BaseException as failure:
            failures.append(failure)
        finally:
            streamer.end()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                piece = next(streamer)
            except Empty:
                if thread.is_alive():
                    continue
                break
            except StopIteration:
                break
            if piece:
                yield piece
    finally:
        stopped.event.set()
        thread.join()
    if failures:
        raise failures[0]
