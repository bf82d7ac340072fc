"""The order of work: claims units, keeps a bounded number in flight, tries failed videos again, repeats slow units.

What is held grows with the units in flight and with the videos that failed, not with those that are done.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from lightning_inr.pipelines.cluster.shards import Unit

POLL = 1.0  # seconds until held videos are asked for again, and slow units are looked for
SLOW = 3.0  # a unit is slow if it takes so many times the mean, and is then started once more where there is room
LEAST_MEASURED = 3  # units, before a mean counts


class Failure(NamedTuple):
    """Why a video could not be fitted, in one line."""

    reason: str


class Claim(Enum):
    """The answer to a worker that asks for a video."""

    TAKEN = auto()  # it is this worker's
    DONE = auto()  # its file and its record exist
    HELD = auto()  # by a worker that works
    UNKNOWN = auto()  # by a worker that may have died: ask again


class Executor(Protocol):
    """Runs units of work, here or elsewhere."""

    def capacity(self) -> int:
        """The number of units that may be in flight."""
        ...

    def start(self, unit: Unit) -> None:
        """Start a unit; one that is in flight is started once more."""
        ...

    def wait(self, seconds: float) -> list[tuple[Unit, Sequence[Any]]]:
        """The units that have finished, with a result or a Failure for each video; waits so long for the first."""
        ...

    def cancel(self, unit: Unit) -> None:
        """End what still runs of a unit that has finished."""
        ...


def schedule(
    units: Iterable[Unit],
    executor: Executor,
    claim: Callable[[int], Claim],
    finish: Callable[[int, Any, bool], None],
    attempts: int,
) -> None:
    """Run all units that can be claimed; `finish(video, outcome, is_last)` is called for each attempt of each video.

    A video that fails is tried again after all others, by itself.
    """
    for attempt in range(attempts):
        failed: list[Unit] = []
        for unit, outcomes in _outcomes(_claimed(units, claim), executor):
            for video, outcome in zip(unit, outcomes, strict=True):
                is_last = not isinstance(outcome, Failure) or attempt + 1 == attempts
                finish(video, outcome, is_last)
                if not is_last:
                    failed.append((video,))
        units = failed


def _claimed(units: Iterable[Unit], claim: Callable[[int], Claim]) -> Iterator[Unit | None]:
    """The videos of the units that are claimed; None when it must be asked again later."""
    unknown: deque[int] = deque()
    for unit in units:
        claims = [(video, claim(video)) for video in unit]
        unknown += [video for video, answer in claims if answer is Claim.UNKNOWN]
        if taken := tuple(video for video, answer in claims if answer is Claim.TAKEN):
            yield taken
    while unknown:
        for _ in range(len(unknown)):
            video = unknown.popleft()
            answer = claim(video)
            if answer is Claim.TAKEN:
                yield (video,)
            elif answer is Claim.UNKNOWN:
                unknown.append(video)
        if unknown:
            yield None


def _outcomes(queue: Iterator[Unit | None], executor: Executor) -> Iterator[tuple[Unit, Sequence[Any]]]:
    """Every unit of the queue with its outcomes, as they come in."""
    started: dict[Unit, float] = {}
    repeated: set[Unit] = set()
    finished, seconds, more = 0, 0.0, True
    while more or started:
        while more and len(started) < executor.capacity():
            try:
                unit = next(queue)
            except StopIteration:
                more = False
                break
            if unit is None:
                break
            executor.start(unit)
            started[unit] = time.monotonic()
        if not started:
            time.sleep(POLL if more else 0)
            continue
        for unit, outcomes in executor.wait(POLL):
            if unit in started:  # not the slower of two
                finished, seconds = finished + 1, seconds + time.monotonic() - started.pop(unit)
                repeated.discard(unit)
                executor.cancel(unit)
                yield unit, outcomes
        if not more and finished >= LEAST_MEASURED and len(started) < executor.capacity():
            limit = time.monotonic() - SLOW * seconds / finished
            for unit in [each for each, start in started.items() if start < limit and each not in repeated]:
                repeated.add(unit)
                executor.start(unit)


class InProcess:
    """Runs units in this process, one after the other."""

    def __init__(self, fit: Callable[[Unit], Sequence[Any]]) -> None:
        self.fit = fit
        self.waiting: deque[Unit] = deque()

    def capacity(self) -> int:
        """See `Executor`."""
        return 1

    def start(self, unit: Unit) -> None:
        """See `Executor`."""
        self.waiting.append(unit)

    def wait(self, seconds: float) -> list[tuple[Unit, Sequence[Any]]]:
        """See `Executor`; the unit runs here, however long it takes."""
        unit = self.waiting.popleft()
        return [(unit, self.fit(unit))]

    def cancel(self, unit: Unit) -> None:
        """See `Executor`; nothing runs beside it."""
