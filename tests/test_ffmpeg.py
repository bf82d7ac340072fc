"""The FFmpeg program."""

import imageio_ffmpeg
import pytest

from lightning_inr import ffmpeg
from lightning_inr.errors import UserError


def test_available_encoders_and_filters() -> None:
    assert ffmpeg.has("filter", "scale")
    assert not ffmpeg.has("encoder", "libnothing")


def test_a_failure_is_one_line() -> None:
    with pytest.raises(UserError, match=r"ffmpeg: .*no-such-file") as caught:
        ffmpeg.run_ffmpeg("-i", "no-such-file", "-f", "null", "-")
    assert "\n" not in str(caught.value)


def test_a_missing_program_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        ffmpeg.run_ffmpeg("-version")
