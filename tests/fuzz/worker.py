"""Runs cases one after the other in a separate process, which a file may kill, or the waiting process."""

import multiprocessing
import multiprocessing.connection
import resource
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from lightning_inr.codec import describe_file, read_video
from lightning_inr.errors import UserError
from tests.fuzz.mutations import case

LONGEST = 20.0  # seconds until a case counts as one that hangs
MEMORY = 200 * 2**20  # bytes that a case may take beyond those before it


class Outcome(NamedTuple):
    """The result of a case."""

    number: int
    fault: str | None  # None: refused in one line, or decoded to frames
    decoded: bool
    seconds: float


def run_cases(first: int, count: int, until: float = float("inf")) -> Iterator[Outcome]:
    """Run the cases from `first` on until a time.monotonic(); a worker that dies or hangs is replaced."""
    number, end = first, first + count
    while number < end and time.monotonic() < until:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs, number, end), daemon=True)
        worker.start()
        theirs.close()
        try:
            while number < end and time.monotonic() < until:
                started = time.perf_counter()
                if not ours.poll(LONGEST + 40 * (number == first)):
                    yield Outcome(number, f"no end after {LONGEST:.0f} s", False, LONGEST)
                    number += 1
                    break
                try:
                    outcome: Outcome = ours.recv()
                except EOFError:
                    worker.join()
                    fault = f"the process died: {worker.exitcode}"
                    yield Outcome(number, fault, False, time.perf_counter() - started)
                    number += 1
                    break
                yield outcome
                number = outcome.number + 1
        finally:
            worker.kill()
            worker.join()


def _work(connection: multiprocessing.connection.Connection, first: int, end: int) -> None:
    torch.set_num_threads(1)
    for number in range(first, end):
        data = case(number)
        connection.send(try_file(number, data))


def try_file(number: int, data: bytes) -> Outcome:
    """Describe and decode a file and three of its frames."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    decoded, fault = False, None
    try:
        describe_file(data)
        model = read_video(data)
        last = model.video.frames - 1
        for _ in model.render([0, last / 2, last]):
            pass
        if model.embedding_space is not None and not model.frame_embeddings(torch.tensor([0.0])).isfinite().all():
            fault = "a vector that is not finite"
        if model.token_space is not None:
            model.visual_tokens()
        decoded = True
    except UserError as error:
        if len(str(error)) > 2000:
            fault = f"a message of {len(str(error))} characters"
    except Exception as error:  # any other error is a fault
        fault = repr(error)[:300]
    seconds = time.process_time() - start  # of this process alone, whatever else the machine does
    taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if fault is None and not decoded and (seconds > 1 or taken > MEMORY):
        fault = f"refused after {seconds:.1f} s and {taken >> 20} MiB"
    elif fault is None and (seconds > 10 or taken > MEMORY + 400 * len(data)):
        fault = f"decoded in {seconds:.1f} s and {taken >> 20} MiB"
    return Outcome(number, fault, decoded, seconds)
