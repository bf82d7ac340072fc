"""The queue of fits, without a page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_inr.demo.encode import Encoded, Encoder, Waiting
from lightning_inr.demo.fitting import FitRequest
from lightning_inr.demo.library import Library
from lightning_inr.demo.options import UploadLimits
from lightning_inr.errors import UserError
from tests.conftest import moving_square, write_mp4

REQUEST = FitRequest(2.0, "fast", 90)


@pytest.fixture
def encoder(library: Library) -> Iterator[Encoder]:
    made = Encoder(library, UploadLimits(seconds=2, waiting=3))
    yield made
    made.close()


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(write_mp4(tmp_path / "clip.mp4", moving_square(8)))


def test_videos_are_encoded_one_after_the_other(encoder: Encoder, video: str) -> None:
    first, second = (encoder.encode(visitor, video, REQUEST) for visitor in "ab")
    assert not isinstance(next(first), Waiting)
    assert next(second) == Waiting(1)
    *_, last = first
    assert isinstance(last, Encoded)
    *_, last = second
    assert isinstance(last, Encoded)


def test_one_that_waits_can_be_cancelled(encoder: Encoder, video: str) -> None:
    first, second, third = (encoder.encode(visitor, video, REQUEST) for visitor in "abc")
    next(first)
    assert [next(second), next(third)] == [Waiting(1), Waiting(2)]
    encoder.stop("b")
    with pytest.raises(UserError, match="cancelled"):
        next(second)
    assert next(third) == Waiting(1)
    encoder.stop("a")
    with pytest.raises(UserError, match="cancelled"):
        list(first)
    assert not isinstance(next(third), Waiting)


def test_no_more_than_the_limit_wait(encoder: Encoder, video: str) -> None:
    begun = [encoder.encode(visitor, video, REQUEST) for visitor in "abc"]
    for each in begun:
        next(each)
    with pytest.raises(UserError, match="3 videos wait already; try again later"):
        next(encoder.encode("d", video, REQUEST))


def test_closing_ends_all(encoder: Encoder, video: str) -> None:
    first, second = (encoder.encode(visitor, video, REQUEST) for visitor in "ab")
    next(first), next(second)
    encoder.close()
    for each in (first, second):
        with pytest.raises(UserError, match="cancelled"):
            list(each)
