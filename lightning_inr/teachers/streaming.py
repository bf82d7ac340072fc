"""An answer piece by piece: transformers generates in a thread of its own, and stops when nobody listens any more."""

import threading
from collections.abc import Callable, Generator
from queue import Empty
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

PATIENCE = 1.0  # seconds after which the listener looks whether the thread still lives


class _Unheard(StoppingCriteria):
    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((len(input_ids),), self.event.is_set(), device=input_ids.device)


def stream(generate: Callable[..., Any], tokenizer: Any) -> Generator[str, None, None]:
    """The text that `generate(streamer=…, stopping_criteria=…)` finds; what it raises is raised here.

    The first ids it hands on are the prompt's, and left out. Closing the iterator ends the thread after the token at
    hand.
    """
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=PATIENCE, skip_special_tokens=True)
    unheard, failures = _Unheard(), []

    def work() -> None:
        try:
            generate(streamer=streamer, stopping_criteria=StoppingCriteriaList([unheard]))
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
        unheard.event.set()
        thread.join()
    if failures:
        raise failures[0]
