"""Limits on the resources that a file may request; a user who trusts a file raises a limit by its name."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from lightning_inr.errors import BitstreamError, UserError

WIDEST_SPACE = 2**14  # numbers of a teacher embedding or of a visual token


class Limits(NamedTuple):
    """The most that one file may request."""

    parameters: int = 2**26  # of all tensors: 256 MiB
    pixels: int = 2**26  # of a rendered frame before cropping: 8192 x 8192
    multiply_adds: int = 2 * 10**12  # of a frame
    numbers: int = 2**29  # elements of a frame's largest tensor, or of the embeddings of all frames: 2 GiB


DEFAULT = Limits()
_limits: ContextVar[Limits] = ContextVar("limits", default=DEFAULT)


def current_limits() -> Limits:
    """The limits that apply in the current context."""
    return _limits.get()


@contextmanager
def use_limits(limits: Limits) -> Iterator[None]:
    """Apply `limits` inside the context, in this thread."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


def read_limits(options: Mapping[str, object]) -> AbstractContextManager[None]:
    """`use_limits` for the options of a configuration; UserError for a value that is not a whole number from 1."""
    limits: dict[str, int] = {}
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"limits.{name}={value}: choose a whole number from 1")
        limits[name] = value
    return use_limits(Limits(**limits))


def check_limit(name: str, requested: int, requester: str) -> None:
    """BitstreamError if the amount `requested` by `requester` exceeds the limit `name`."""
    limit = getattr(current_limits(), name)
    if requested > limit:
        raise BitstreamError(
            f"{requester}: {requested:,} {name.replace('_', '-')}, more than limits.{name}={limit}; "
            f"if you trust the file and have the time and memory, add limits.{name}={requested}"
        )


def check_embeddings(width: int, frames: int) -> None:
    """BitstreamError if the embeddings of all frames, of `width` numbers each, would take too much memory."""
    if not 1 <= width <= WIDEST_SPACE:
        raise BitstreamError(f"damaged .linr: its header states a teacher of width {width}")
    check_limit("numbers", frames * width, "the embeddings of all frames")
