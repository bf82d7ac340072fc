"""The Python API: a `.linr` file as a reader of frames, fits, searches and answers from a program."""

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import lightning_inr as li
from lightning_inr import api, video
from lightning_inr.codec import Codec, decode
from lightning_inr.data.writer import write_frames
from lightning_inr.errors import UserError
from lightning_inr.types import VideoShape
from tests.conftest import moving_square, small_model

FRAMES = 12
TINY = {"model.width": 16, "model.latent_dim": 8, "model.hyper_width": 8, "rank": 4}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of twelve frames of 48x64 in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "clip.linr"
    path.write_bytes(Codec().encode(small_model(video=VideoShape(FRAMES, 48, 64, 25.0))))
    return path


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video of twelve frames of 48x64 in the working folder."""
    monkeypatch.chdir(tmp_path)
    frames = torch.nn.functional.interpolate(torch.stack(list(moving_square(FRAMES))).float(), (48, 64))
    return write_frames(frames.to(torch.uint8), tmp_path / "clip.mp4", 25.0)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, lightning_inr as li; assert 'torch' not in sys.modules and 'fit' in dir(li)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_frames_are_those_of_the_decoder(file: Path) -> None:
    video = li.open(file)
    true = np.stack([frame.permute(1, 2, 0).numpy() for frame in decode(file.read_bytes()).render(range(FRAMES))])
    assert (len(video), video.shape, video.fps) == (FRAMES, (FRAMES, 48, 64, 3), 25.0)
    assert np.array_equal(video[3], true[3])
    assert np.array_equal(video[-1], true[-1])
    assert np.array_equal(video[2:9:3], true[2:9:3])
    assert np.array_equal(video[::-4], true[::-4])
    assert np.array_equal(video[[5, 0, -2]], true[[5, 0, -2]])
    assert np.array_equal(np.stack(list(video)), true)
    assert video[5:5].shape == (0, 48, 64, 3)


def test_readers_of_torchcodec_and_decord(file: Path) -> None:
    video = li.open(file)
    batch = video.get_frames_at([7, 1])
    assert np.array_equal(batch.data.permute(0, 2, 3, 1).numpy(), video[[7, 1]])
    assert batch.pts_seconds.tolist() == pytest.approx([0.28, 0.04])
    assert batch.duration_seconds.tolist() == pytest.approx([0.04, 0.04])
    assert torch.equal(video.get_frames_in_range(1, 8, 6).data, video.get_frames_at([1, 7]).data)
    assert torch.equal(video.get_frame_at(7).data, batch.data[0])
    assert np.array_equal(video.get_batch([7, 1]), video[[7, 1]])
    assert video.get_avg_fps() == 25.0


def test_any_position_at_any_size(file: Path) -> None:
    video = li.open(file)
    between = next(decode(file.read_bytes()).render([3.5], (96, 128)))
    assert np.array_equal(video.at(3.5, (96, 128)), between.permute(1, 2, 0).numpy())
    assert video.at([0, 2.25]).shape == (2, 48, 64, 3)


def test_positions_beyond_the_video_are_errors(file: Path) -> None:
    video = li.open(file)
    for wrong in (FRAMES, -FRAMES - 1):
        with pytest.raises(IndexError, match="this video has frames 0 to 11"):
            video[wrong]
    with pytest.raises(UserError, match=r"position 11\.5: this video has positions 0 to 11"):
        video.at(11.5)
    with pytest.raises(UserError, match=r"path=none\.linr: no such file"):
        li.open("none.linr")


def test_writing_a_part_slowed_down(file: Path) -> None:
    written = li.open(file).write("slow", slowdown=2, frames=slice(2, 5), size=(24, 32))
    assert sorted(path.name for path in written.iterdir()) == [f"{number:05d}.png" for number in range(1, 6)]
    with pytest.raises(UserError, match="slowdown=0"):
        li.open(file).write("slow.mp4", slowdown=0)


def test_latents_exist_and_embeddings_need_a_teacher(file: Path) -> None:
    video = li.open(file)
    assert video.latents.shape[0] == FRAMES
    assert video.info["bytes"] == file.stat().st_size
    with pytest.raises(UserError, match="no teacher has aligned"):
        _ = video.embeddings


class Clips(Dataset[torch.Tensor]):
    """Four frames of each file, as a loader for mp4 files would read them."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return li.open(self.paths[index]).get_frames_in_range(0, FRAMES, 3).data


def test_a_data_loader_reads_files_in_worker_processes(file: Path) -> None:
    batches = list(DataLoader(Clips([file, file]), batch_size=2, num_workers=1))
    assert [tuple(batch.shape) for batch in batches] == [(2, 4, 3, 48, 64)]


def test_a_fit_leaves_one_file_and_its_figures(clip: Path) -> None:
    video = li.fit(clip, "out/clip.linr", height=24, progress=False, options={**TINY, "max_steps": 10})
    assert video.shape == (FRAMES, 24, 32, 3)
    assert [path.name for path in Path("out").iterdir()] == ["clip.linr"]
    assert video.figures["bytes"] == Path("out/clip.linr").stat().st_size
    assert video.figures["steps"] == 10
    assert video.figures["command"] == f"lightning_inr.fit({str(clip)!r})"


def test_fit_without_progress_prints_nothing_and_keeps_a_named_run_folder(
    clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    li.fit(clip, "clip.linr", progress=False, run_dir="run", options={**TINY, "max_steps": 5})
    assert {"result.json", "video.linr", "training.png"} <= {path.name for path in Path("run").iterdir()}
    assert Path("clip.linr").read_bytes() == Path("run/video.linr").read_bytes()
    assert "PSNR" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effort": "heroic"}, "heroic"),
        ({"options": {"ranks": 4}}, "ranks"),
        ({"bpp": -1}, "bpp=-1"),
        ({"model": "nothing"}, "nothing"),
    ],
)
def test_wrong_options_are_named(clip: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        li.fit(clip, "clip.linr", progress=False, **options)
    assert not Path("clip.linr").exists()


def test_a_script_under_torchrun_does_not_share_a_fit(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="run this script without torchrun"):
        li.fit(clip, "clip.linr", device="cpu", progress=False, options={**TINY, "trainer.devices": 2})


def test_search_by_file_and_by_text(collection: Path) -> None:
    hits = li.search(collection, file=collection / "video2.linr", frame=4, k=2)
    assert (hits[0].record.id, len(hits)) == ("video2", 2)
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert len(li.search(collection, "a red ball", k=3)) == 3
    with pytest.raises(UserError, match="give one of query="):
        li.search(collection)
    assert li.open(collection / "video2.linr").embeddings.shape[0] == hits[0].record.frames


def test_doctests(file: Path, clip: Path, collection: Path) -> None:
    assert collection.parent == clip.parent == Path.cwd()
    shutil.copy(file, "kept.linr")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module, least in ((api, 4), (video, 6)):
        results = doctest.testmod(module)
        assert (results.failed, results.attempted >= least) == (0, True)
