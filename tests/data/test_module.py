from pathlib import Path

import pytest
import torch

from lightning_inr.data.file import open_source
from lightning_inr.data.module import FrameDataModule
from lightning_inr.errors import UserError
from tests.conftest import moving_square


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_an_epoch_shows_every_frame_once_as_bytes(images: Path, memory_gib: float) -> None:
    data = FrameDataModule(open_source(str(images)), batch_size=4, memory_gib=memory_gib)
    batches = list(data.train_dataloader())
    assert sorted(int(index) for batch in batches for index in batch.index) == list(range(6))
    for batch in batches:
        assert batch.frames.dtype == torch.uint8
        assert torch.equal(batch.frames, moving_square()[batch.index])
    assert (data.frames.memory is None) == (memory_gib == 0)


def test_a_window_is_where_it_says(images: Path) -> None:
    data = FrameDataModule(open_source(str(images)), batch_size=2, window=(10, 200))
    for batch in data.train_dataloader():
        top, left, height, width = batch.window  # type: ignore[misc]
        assert (height, width, left) == (10, 64, 0)  # as wide as the frame at most
        assert torch.equal(batch.frames, moving_square()[batch.index][..., top : top + 10, :])


def test_frames_become_floats_on_the_device_only(images: Path) -> None:
    data = FrameDataModule(open_source(str(images)))
    batch = data.transfer_batch_to_device(next(iter(data.train_dataloader())), torch.device("cpu"), 0)
    assert batch.frames.dtype == torch.float32
    assert batch.frames.max() <= 1


def test_wrong_batch_size(images: Path) -> None:
    with pytest.raises(UserError, match="batch_size=0"):
        FrameDataModule(open_source(str(images)), batch_size=0)
