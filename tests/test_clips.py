"""The reader for `torch.utils.data`: clips of consecutive frames from several `.linr` files."""

import doctest
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset

import lightning_inr as li
from lightning_inr import clips
from lightning_inr.clips import ClipDataset, ClipItem
from lightning_inr.codec import Codec, decode
from lightning_inr.data.sources.file import open_video
from lightning_inr.errors import BitstreamError, UserError
from lightning_inr.types import VideoShape
from tests.conftest import moving_square, small_model, write_mp4

LENGTHS = {"clip.linr": 12, "other.linr": 7}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files of 48x64 in the working folder, of twelve and of seven frames."""
    monkeypatch.chdir(tmp_path)
    for name, length in LENGTHS.items():
        Path(name).write_bytes(Codec().encode(small_model(video=VideoShape(length, 48, 64, 25.0))))
    return [Path(name) for name in LENGTHS]


def test_clips_are_consecutive_frames_of_the_files(files: list[Path]) -> None:
    dataset = li.ClipDataset(files, 3)
    assert [(each["file"], each["numbers"].tolist()) for each in dataset] == [
        *(("clip.linr", [first, first + 1, first + 2]) for first in (0, 3, 6, 9)),
        *(("other.linr", [first, first + 1, first + 2]) for first in (0, 3)),
    ]
    for item in (dataset[1], dataset[-1]):
        true = torch.stack(list(decode(Path(item["file"]).read_bytes()).render(item["numbers"].tolist())))
        assert torch.equal(item["frames"], true)
    with pytest.raises(IndexError, match="clip 6: this dataset has clips 0 to 5"):
        dataset[6]


def test_steps_in_a_clip_and_between_clips(files: list[Path]) -> None:
    dataset = ClipDataset(files, 3, step=2, clip_step=1)
    assert [each["numbers"].tolist() for each in dataset][:2] == [[0, 2, 4], [1, 3, 5]]
    assert (len(dataset), dataset.ends) == (11, [8, 11])
    assert dataset[7]["numbers"].tolist() == [7, 9, 11]
    assert dataset[10]["numbers"].tolist() == [2, 4, 6]
    assert len(ClipDataset(files, 7)) == 2  # a clip as long as the video


def test_any_size_and_a_folder(files: list[Path]) -> None:
    Path(".clip.1@host.linr").write_bytes(b"a draft")
    dataset = ClipDataset(Path.cwd(), 4, size=(30, 40))
    assert [Path(file).name for file in dataset.files] == ["clip.linr", "other.linr"]
    assert dataset[0]["frames"].shape == (4, 3, 30, 40)
    assert dataset[0]["frames"].dtype == torch.uint8
    assert ClipDataset([Path.cwd(), files[0]], 4).files[-1] == "clip.linr"


def test_files_are_opened_when_needed_and_few_stay_open(files: list[Path]) -> None:
    dataset = ClipDataset(files, 3, open_files=1)
    assert list(dataset._models) == []
    first = dataset[0]
    kept = dataset._models["clip.linr"]
    _ = dataset[1]
    assert dataset._models["clip.linr"] is kept
    _ = dataset[4]
    assert list(dataset._models) == ["other.linr"]
    copied = pickle.loads(pickle.dumps(dataset))
    assert list(copied._models) == []
    assert torch.equal(copied[0]["frames"], first["frames"])


class Mp4Clips(Dataset[ClipItem]):
    """The same clips of a conventional video; they also tell which process has read them."""

    def __init__(self, path: Path, frames: int) -> None:
        self.path, self.frames = path, frames

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> ClipItem:
        numbers = range(index * self.frames, (index + 1) * self.frames)
        source = open_video(str(self.path))
        frames = torch.stack([source.read(number) for number in numbers])
        return {"frames": frames, "file": f"{self.path.name} {os.getpid()}", "numbers": torch.tensor(numbers)}


def test_worker_processes_read_files_beside_an_mp4(files: list[Path]) -> None:
    write_mp4(Path("clip.mp4"), moving_square(8))
    dataset = ClipDataset(files, 4)
    _ = dataset[0]  # a worker does not use the network that this process has opened
    both: ConcatDataset[ClipItem] = ConcatDataset([dataset, Mp4Clips(Path("clip.mp4"), 4)])
    batches = list(DataLoader(both, batch_size=2, num_workers=2))
    assert [tuple(batch["frames"].shape) for batch in batches] == [(2, 4, 3, 48, 64)] * 3
    assert batches[0]["file"] == ["clip.linr", "clip.linr"]
    assert batches[0]["numbers"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert torch.equal(batches[0]["frames"][1], dataset[1]["frames"])
    assert str(os.getpid()) not in batches[2]["file"][0]


def test_a_forked_process_opens_files_again(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ClipDataset(files, 4)
    _ = dataset[0]
    kept = dataset._models["clip.linr"]
    monkeypatch.setattr("os.getpid", lambda: -1)
    _ = dataset[0]
    assert dataset._models["clip.linr"] is not kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": []}, r"files=\[\]: name at least one .linr file, or a folder of them"),
        ({"files": "none.linr"}, "files=none.linr: no such file or folder"),
        ({"files": "empty"}, "files=empty: no .linr file in this folder"),
        ({"frames": 8}, "files=other.linr: a clip needs 8 frames and this video has 7; choose fewer frames or"),
        ({"frames": 3, "step": 4}, "a clip needs 9 frames"),
        ({"frames": 0}, "frames=0: choose a whole number from 1"),
        ({"step": 1.5}, "step=1.5: choose"),
        ({"clip_step": 0}, "clip_step=0: choose"),
        ({"open_files": True}, "open_files=True: choose"),
        ({"size": 64}, r"size=64: give \(height, width\)"),
        ({"size": (0, 64)}, r"size=\(0, 64\): give"),
        ({"device": "tpu"}, "device=tpu: choose auto, cpu or cuda"),
    ],
)
def test_wrong_values_are_named(files: list[Path], options: dict[str, Any], message: str) -> None:
    Path("empty").mkdir()
    values: dict[str, Any] = {"files": files, "frames": 4} | options
    with pytest.raises(UserError, match=message) as raised:
        ClipDataset(**values)
    assert "\n" not in str(raised.value)


def test_damaged_files_are_named(files: list[Path]) -> None:
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    Path("damaged.linr").write_bytes(data)
    Path("text.linr").write_text("no video")
    with pytest.raises(BitstreamError, match=r"text\.linr: not a \.linr file"):
        ClipDataset(["clip.linr", "text.linr"], 4)
    dataset = ClipDataset("damaged.linr", 4)  # its header is right
    with pytest.raises(BitstreamError, match=r"damaged\.linr: damaged \.linr: section"):
        dataset[0]


def test_doctests(files: list[Path]) -> None:
    results = doctest.testmod(clips)
    assert (results.failed, results.attempted) == (0, 3)
