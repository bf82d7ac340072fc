import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_inr.codec import Codec
from lightning_inr.data.sources.file import open_source
from lightning_inr.errors import UserError
from lightning_inr.models.base import VideoRepresentation
from lightning_inr.tasks.decode import frame_positions, parse_fps, parse_frames, parse_size, parse_slowdown
from lightning_inr.types import VideoShape
from tests.conftest import Outcome, small_model

Cli = Callable[..., Outcome]


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    """A `.linr` file of 12 frames of 48x64."""
    path = tmp_path / "video.linr"
    path.write_bytes(Codec().encode(small_model(video=VideoShape(12, 48, 64, 25.0))))
    return path


def pngs(folder: str) -> dict[str, np.ndarray]:
    return {file.name: np.asarray(Image.open(file)) for file in sorted(Path(folder).glob("*.png"))}


def test_to_a_video(cli: Cli, bitstream: Path) -> None:
    outcome = cli("task=decode", f"bitstream={bitstream}", "out=out.mp4")
    assert outcome.code == 0, outcome.err
    source = open_source("out.mp4")
    assert (source.frames, source.height, source.width, source.fps) == (12, 48, 64, 25)


def test_a_range_of_frames_equals_that_of_the_video_and_keeps_its_numbers(cli: Cli, bitstream: Path) -> None:
    assert cli("task=decode", f"bitstream={bitstream}", "out=all").code == 0
    assert cli("task=decode", f"bitstream={bitstream}", "out=some", "frames=7:9").code == 0
    whole, some = pngs("all"), pngs("some")
    assert list(some) == ["00008.png", "00009.png"]
    assert all(np.abs(some[name].astype(int) - whole[name]).max() <= 1 for name in some)


def test_one_frame_is_decoded_alone(cli: Cli, bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[float] = []
    render = VideoRepresentation.render

    def counting(self: VideoRepresentation, index: list[float], size: tuple[int, int] | None = None) -> object:
        rendered.extend(index)
        return render(self, index, size)

    monkeypatch.setattr(VideoRepresentation, "render", counting)
    assert cli("task=decode", f"bitstream={bitstream}", "out=one", "frames=7:8").code == 0
    assert rendered == [7.0]


def test_another_size_and_slow_motion(cli: Cli, bitstream: Path) -> None:
    assert (
        cli("task=decode", f"bitstream={bitstream}", "out=large", "size=96x128", "frames=0:3", "slowdown=2").code == 0
    )
    assert cli("task=decode", f"bitstream={bitstream}", "out=native", "frames=0:3").code == 0
    large, native = pngs("large"), pngs("native")
    assert list(large) == [f"{number:05d}.png" for number in range(1, 6)]
    assert large["00001.png"].shape == (96, 128, 3)
    shrunk = large["00003.png"].reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - native["00002.png"]).mean() < 3


def test_twice_the_frame_rate(cli: Cli, bitstream: Path) -> None:
    outcome = cli("task=decode", f"bitstream={bitstream}", "out=out.mp4", "slowdown=2", "fps=50")
    assert outcome.code == 0, outcome.err
    source = open_source("out.mp4")
    assert (source.frames, source.fps) == (23, 50)


def test_positions_of_slow_motion() -> None:
    assert frame_positions(range(3, 6), 1) == [3, 4, 5]
    assert frame_positions(range(3, 5), 4) == [3, 3.25, 3.5, 3.75, 4]


def test_options_are_read_strictly() -> None:
    assert parse_frames(None, 5) == range(5)
    assert parse_frames("1:3", 5) == range(1, 3)
    assert parse_frames(":2", 5) == range(2)
    assert parse_frames("3:", 5) == range(3, 5)
    assert parse_frames(4, 5) == range(4, 5)
    assert parse_size("720x1280") == (720, 1280)
    for text in ("5", "0:6", "3:3", "a:b", "", "-1:2", "1:2:3"):
        with pytest.raises(UserError, match=f"frames={text}: "):
            parse_frames(text, 5)
    for size in ("720", "0x5", "99999x9", "axb"):
        with pytest.raises(UserError, match="HEIGHTxWIDTH"):
            parse_size(size)
    assert (parse_fps(None, 25.0), parse_fps(50, 25.0)) == (25, 50)
    for fps in (0, -1, "fast"):
        with pytest.raises(UserError, match=f"fps={fps}: give a number"):
            parse_fps(fps, 25.0)
    for slowdown in (0, 1.5, "fast"):
        with pytest.raises(UserError, match=f"slowdown={slowdown}"):
            parse_slowdown(slowdown)


def test_info_is_json_on_stdout(cli: Cli, bitstream: Path) -> None:
    outcome = cli("task=info", f"bitstream={bitstream}")
    described = json.loads(outcome.out)
    assert described["model"] == "latent_inr"
    assert described["video"] == {"frames": 12, "height": 48, "width": 64, "fps": 25.0, "stride": 1}
    assert sum(role["bytes"] for role in described["roles"].values()) < described["bytes"]


def test_a_failed_decode_leaves_nothing(cli: Cli, bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    outcome = cli("task=decode", f"bitstream={bitstream}", "out=png")
    assert outcome.code == 1
    assert "cannot write png: No space left on device" in outcome.error
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["video.linr"]


def test_decoding_needs_only_the_file(cli: Cli, bitstream: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "elsewhere" / "copy.linr"
    lonely.parent.mkdir()
    lonely.write_bytes(bitstream.read_bytes())
    bitstream.unlink()
    assert cli("task=decode", f"bitstream={lonely}", "out=png", "frames=0:1").code == 0
    assert torch.from_numpy(pngs("png")["00001.png"].copy()).float().std() > 0
